"""Code of somebody, named by a config or an option: where it raised an error."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback

_DFD = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_FRAME = re.compile(r'File "(.+?)", line (\d+), in (\S+)')  # as a loader's process sends its traceback


def raised_in(error: BaseException) -> str:
    """ "FILE:LINE, in FUNCTION" of the last frame that is neither dfd's nor an installed package's; "" where
    there is none.
    """
    frames = [(each.filename, each.lineno, each.name) for each in traceback.extract_tb(error.__traceback__)]
    frames += _FRAME.findall(str(error))
    own = [(os.path.realpath(file), line, name) for file, line, name in frames if _is_own(file)]
    if not own:
        return ""
    file, line, name = own[-1]
    return f"{file.removeprefix(os.getcwd() + os.sep)}:{line}, in {name}"


def _is_own(file: str) -> bool:
    path = os.path.realpath(file)
    paths = sysconfig.get_paths()
    installed = [os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = path.split(os.sep)
    return not (
        file.startswith("<")
        or any(path.startswith(folder + os.sep) for folder in (_DFD, *installed))
        or "site-packages" in folders
        or "dist-packages" in folders
    )
