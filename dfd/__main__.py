"""Module entry point: `python -m dfd` is `dfd`."""

import sys

from dfd.cli import main

if __name__ == "__main__":
    sys.exit(main())
