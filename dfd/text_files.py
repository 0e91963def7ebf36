"""JSON and YAML files that a stranger may have written: data, within a limit, each fault in one line."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

MAX_BYTES = 16_000_000  # more than anything of dfd's but tables
MAX_VALUES = 1_000_000  # of a YAML file, whose aliases may repeat one
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a named pipe is then not waited for


def read_text(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> str:
    """The text of a regular file in UTF-8.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is a pipe or a device, too large, or no UTF-8; the words name the file.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | _NO_WAIT)

    with open(path, "rb", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path} is no file: a pipe, a socket or a device.")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes, which is more than is read of such a file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: byte {error.start} is not UTF-8.") from error


def read_json(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> Any:
    """What a JSON file holds; raises as `read_text` does, and ValueError where it is no JSON."""
    text = read_text(path, limit)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        what = "an empty file" if not text.strip() else f"line {error.lineno}: {error.msg}"
        raise ValueError(f"{path} is no JSON ({what}).") from error
    except RecursionError as error:
        raise ValueError(f"{path} is no JSON of dfd: it is nested too deep.") from error
    except ValueError as error:  # a whole number of more than some thousand digits
        raise ValueError(f"{path} is no JSON of dfd: {error}.") from error


def read_yaml(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> Any:
    """What a YAML file holds, plain values alone; raises as `read_text` does, and ValueError where it is no
    YAML.
    """
    return parse_yaml(read_text(path, limit), str(path))


def parse_yaml(text: str, path: str) -> Any:
    """What a text of YAML holds, plain values alone; ValueError where it is none.

    Args:
        path: what to call it in an error.
    """
    import yaml

    try:
        found = yaml.safe_load(text)
        if _amounts_to_more(found, MAX_VALUES):
            raise ValueError(f"its aliases make more than {MAX_VALUES} values of it")
        return found
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{path}{line}: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:  # a letter that YAML does not have
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise ValueError(f"{path} is no YAML that can be read: it is nested too deep.") from error
    except (ValueError, TypeError) as error:  # such as a date that there is not, or a list as a key
        raise ValueError(f"{path} is no YAML that can be read: {error}.") from error


def _amounts_to_more(value: Any, limit: int) -> bool:
    """Whether a value holds more than `limit` others, each counted as often as an alias repeats it."""
    waiting, count = [value], 0
    while waiting and count <= limit:
        count += 1
        each = waiting.pop()
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return count > limit


def read_object(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> dict[str, Any]:
    """What a JSON file holds by name; raises as `read_json` does, and ValueError where it holds no names."""
    found = read_json(path, limit)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, where names and values were expected.")
    return found
