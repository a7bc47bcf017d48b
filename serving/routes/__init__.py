"""The routes: each file gives a ``routes(state)``, an ``APIRouter``."""
