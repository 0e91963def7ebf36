"""Table of contents of finished shards: samples.parquet and index.json, read and checked."""

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfd.shards.format import INDEX, SAMPLES_FILE
from dfd.shards.pattern import index_of_part, parse_root, pick_shards
from dfd.shards.sample_file import SampleFile
from dfd.shards.validate import check_index

# by which index.json counts
_COUNTED = ["shard", "offset", "length", "label", "split", "family"]


def read_index(root: Path) -> dict[str, Any]:
    """index.json of finished shards; of a pattern, as if its shards were all.

    Raises:
        ValueError: `root` is missing, unfinished, or no shards, or a pattern names a shard that is not there;
            says which command helps.
    """
    folder, names = parse_root(root)
    index = _read_index(Path(folder))
    if names is None:
        return index
    return index_of_part(index, pick_shards(root, index), load_table(root, _COUNTED))


def _read_index(root: Path) -> dict[str, Any]:
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder. `dfd prepare SOURCE --out {root}` makes it.")
    try:
        index = json.loads((root / INDEX).read_text())
    except FileNotFoundError:
        pass
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{root / INDEX} is not JSON ({error}). Run `dfd index {root}`.") from error
    else:
        try:
            check_index(index)
        except ValueError as error:
            raise ValueError(
                f"{root / INDEX} is not as dfd writes it: {error}. Run `dfd index {root}`."
            ) from error
        return index
    if (root / ".prepare").is_dir():
        raise ValueError(
            f"{root}: `dfd prepare` was stopped before the end. Run the same command again: it goes on from "
            "there."
        )
    if any(root.glob("*.tar")):
        raise ValueError(f"{root}: tars without {INDEX}. `dfd index {root}` makes their table.")
    raise ValueError(
        f"{root}: no shards here (no {INDEX}, no .tar). `dfd prepare {root} --out FOLDER` makes shards of "
        "pictures."
    )


def made_by(root: Path) -> dict[str, Any]:
    """What index.json says of the command that made the shards; empty if it cannot be read."""
    try:
        found = json.loads((root / INDEX).read_text("utf-8"))["made_by"]
    # a file of that name may be anybody's
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def remake(root: Path) -> str:
    """The command that makes the table of `root` again."""
    maker = made_by(root)
    if maker.get("command") == "prepare":
        return f"dfd prepare {maker['source']} --out {root}{_options(maker)} --overwrite"
    if maker.get("command") == "match":
        return f"dfd reencode {maker['source']} --out ANOTHER --jpeg {maker['jpeg']} --size {maker['size']}"
    if maker.get("command") == "generate":
        return (
            f"dfd generate {maker['checkpoint']} --like {maker['like']} --seed {maker['seed']} --num NUM "
            "--out ANOTHER"
        )
    return f"dfd index {root}"


def _options(maker: dict[str, Any]) -> str:
    """The options by which `dfd prepare` was told how to read its source."""
    told = maker.get("class_names")
    given = [("--root", maker["root"])] if "root" in maker else []
    if isinstance(told, dict):
        given += [(f"--{title}", name) for title in ("real", "fake") for name in told.get(title) or ()]
    return "".join(f" {option} {shlex.quote(str(value))}" for option, value in given)


def load_table(root: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """samples.parquet of finished shards, one line a sample, columns as in SCHEMA; all shards are there in
    their full size. Of a pattern, the lines of its shards.

    Args:
        root: folder of the shards, or a pattern of some of them.
        columns: the ones to read, shard, offset and length among them; None reads all.

    Raises:
        ValueError: what is wrong with `root`, and what to do.
    """
    file = open_table(root)
    with told(root):
        return file.read(columns)


def open_table(root: Path) -> SampleFile:
    """The same, not read yet.

    Raises:
        ValueError: what is wrong with `root`, and what to do.
    """
    picked, (folder, names) = root, parse_root(root)
    root = Path(folder)
    index = _read_index(root)
    shards = pick_shards(picked, index)
    if not (root / SAMPLES_FILE).is_file():
        raise ValueError(f"{root}: {SAMPLES_FILE} is missing. {_remedy(root)}")
    with told(root):
        file = SampleFile(root / SAMPLES_FILE, index, names)
    if file.missing:
        raise ValueError(
            f"{root / SAMPLES_FILE} lacks the columns {', '.join(file.missing)}. {_remedy(root)}"
        )
    for shard in shards:
        path = root / shard["name"]
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise ValueError(
                f"{path} {found}, {INDEX} says {shard['bytes']}. Copy the folder again or prepare it with "
                "--overwrite."
            )
    return file


@contextmanager
def told(root: Path) -> Iterator[None]:
    """What is wrong with the table of `root`, with its name and what to do."""
    root = Path(parse_root(root).folder)
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{root / SAMPLES_FILE} cannot be read ({error}). {_remedy(root)}") from error
    except ValueError as error:
        raise ValueError(
            f"{root / SAMPLES_FILE} is not as dfd writes it: {error}. {_remedy(root)}"
        ) from error


def _remedy(root: Path) -> str:
    return f"`{remake(root)}` makes it again."
