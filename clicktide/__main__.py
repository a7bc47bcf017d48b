"""``python -m clicktide``."""

from clicktide.cli import main

main()
