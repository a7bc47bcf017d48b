"""The routes: each function ``routes(state)`` gives an ``APIRouter``."""
