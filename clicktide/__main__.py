"""``python -m clicktide``."""

import os
import sys

# -m puts the folder it is called from first: a package `features` there is not ours.
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if not sys.flags.safe_path and os.path.realpath(sys.path[0]) != os.path.realpath(_HOME):
    del sys.path[0]

from clicktide.cli import main  # noqa: E402

main()
