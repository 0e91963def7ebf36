"""Module entry point: `python -m dfd.cli` is `dfd`."""

import sys

from dfd.interpreters import leave_current_folder

if __name__ == "__main__":
    leave_current_folder()

    from dfd.cli import main

    sys.exit(main())
