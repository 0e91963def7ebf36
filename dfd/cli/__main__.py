"""Module entry point: `python -m dfd.cli` is `dfd`."""

import sys

from dfd.cli import main

sys.exit(main())
