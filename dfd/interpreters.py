"""Python processes: those that dfd starts take no code from the current folder, which may be a stranger's.

Python puts the current folder first on its path for `-c` and `-m`, and multiprocessing's helpers, torch's
compilers and W&B start so: a `threading.py` beside a stranger's pictures would be run. PYTHONPATH is what
the user says, and holds everywhere.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SAFE = "PYTHONSAFEPATH"


def fresh(*args: str) -> list[str]:
    """Command line of another Python."""
    return [sys.executable, "-P", *args]


@contextmanager
def safe_path() -> Iterator[None]:
    """Each Python that starts within the block, whoever starts it, leaves the current folder off its path."""
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE]
        else:
            os.environ[_SAFE] = before


def users_environment() -> dict[str, str]:
    """The environment for programs of the user's own, which may lie beside what they import: without what
    `safe_path` has set.
    """
    own = dict(os.environ)
    if not sys.flags.safe_path:  # else it is the user's
        own.pop(_SAFE, None)
    return own


def leave_current_folder() -> None:
    """For `python -m`: takes the current folder off the path, before more is imported.

    Where dfd itself lies in it and nowhere else, a checkout that is not installed, it stays, and other
    processes get it by PYTHONPATH.
    """
    if sys.flags.safe_path:
        return
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    first = sys.path.pop(0)
    if os.path.realpath(first) == home and home not in map(os.path.realpath, sys.path):
        sys.path.insert(0, home)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
