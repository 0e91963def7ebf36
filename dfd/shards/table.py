"""Table of contents of finished shards: samples.parquet and index.json, read and checked."""

import itertools
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfd.durable import check_folder
from dfd.media.files import read_file
from dfd.shards.format import INDEX, SAMPLES_FILE
from dfd.shards.pattern import index_of_part, parse_root, pick_shards
from dfd.shards.rejects import REJECTED, is_own_list
from dfd.shards.sample_file import SampleFile
from dfd.shards.validate import check_index
from dfd.terminal import printable

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
    check_folder(
        root,
        missing=f"`dfd prepare SOURCE --out {root}` makes it.",
        needed="Name the folder that `dfd prepare` or `dfd index` made.",
    )
    if (root / INDEX).exists():
        try:
            index = json.loads(read_file(root / INDEX))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{root / INDEX} is not JSON ({_first_line(error)}). {_remedy(root)}") from error
        try:
            check_index(index)
        except ValueError as error:
            raise ValueError(f"{root / INDEX} is not as dfd writes it: {error}. {_remedy(root)}") from error
        return {"rejected": 0, "leaks": {}, **index}
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
    """What index.json says of the command that made the shards; empty where it cannot be read: a file of that
    name may be anybody's.
    """
    try:
        index = json.loads(read_file(root / INDEX))
    except (OSError, ValueError, RecursionError):
        return {}
    maker = index.get("made_by") if isinstance(index, dict) else None
    return maker if isinstance(maker, dict) else {}


def somebodys_file(root: Path) -> Path | None:
    """A file of `root` that has the name of one of dfd's, and that dfd did not write, as far as it says;
    webdataset's own list of shards is called index.json as well.

    What is damaged counts as dfd's own where the other of index.json and samples.parquet is dfd's.
    """
    paths = [path for path in (root / INDEX, root / SAMPLES_FILE, root / REJECTED) if os.path.lexists(path)]
    own = {path: _is_own(path) for path in paths}
    contents = [own.get(root / name) for name in (INDEX, SAMPLES_FILE)]
    return next(
        (path for path in paths if own[path] is False or (own[path] is None and True not in contents)), None
    )


def _is_own(path: Path) -> bool | None:
    """Whether dfd wrote a file of such a name; None for a damaged one, of which nobody can tell."""
    if not path.is_file():
        return False
    try:
        if path.name == REJECTED:
            return is_own_list(path)
        if path.name == SAMPLES_FILE:
            return {"key", "shard", "offset", "length"} <= set(pq.read_schema(path).names)
        index = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError, pa.ArrowException):
        return None
    if not isinstance(index, dict) or not index:
        return None
    if not index.keys() & {"dfd", "made_by"}:
        return False
    return True if index.keys() >= {"made_by", "shards", "images"} else None


def refuse_somebodys_file(root: Path) -> None:
    """Raises ValueError for a file that a table of `root` would replace, and that dfd did not write."""
    if path := somebodys_file(root):
        raise ValueError(f"{path} would be replaced. {_way_on(root, path)}")


def _way_on(root: Path, path: Path) -> str:
    """What to do about somebody's file of this name."""
    new = next(
        new for count in itertools.count() if not os.path.lexists(new := path.with_name(_aside(path, count)))
    )
    return (
        f"dfd did not write it, or cannot tell: rename it (mv {shlex.quote(str(path))} "
        f"{shlex.quote(str(new))}), then run `dfd index {shlex.quote(str(root))}`."
    )


def _aside(path: Path, count: int) -> str:
    return f"their-{f'{count}-' if count else ''}{path.name}"


def remake(root: Path) -> str:
    """The command that makes the table of `root` again."""
    maker = made_by(root)

    def said(name: str, default: str) -> str:
        value = maker.get(name)
        return _quoted(value) if isinstance(value, (str, int)) else default

    out = shlex.quote(str(root))
    match maker.get("command"):
        case "prepare":
            return f"dfd prepare {said('source', 'SOURCE')} --out {out}{_options(maker)} --overwrite"
        case "match":
            jpeg, size = said("jpeg", "QUALITY"), said("size", "SIZE")
            return f"dfd reencode {said('source', 'ROOT')} --out ANOTHER --jpeg {jpeg} --size {size}"
        case "generate":
            nets, num = said("checkpoint", "CHECKPOINT"), " --num NUM"
            if "checkpoints" in maker:
                nets, num = "CHECKPOINT...", " --splits SPLIT..."
            like, seed = said("like", "ROOT"), said("seed", "SEED")
            return f"dfd generate {nets} --like {like} --seed {seed}{num} --out ANOTHER"
    return f"dfd index {out}"


def _options(maker: dict[str, Any]) -> str:
    """The options by which `dfd prepare` was told how to read its source."""
    told = maker.get("class_names")
    names = told if isinstance(told, dict) else {}
    given = [("--root", maker["root"])] if "root" in maker else []
    for title in ("real", "fake"):
        given += [(f"--{title}", name) for name in names.get(title) or () if isinstance(name, str)]
    return "".join(f" {option} {_quoted(value)}" for option, value in given)


def _quoted(value: object) -> str:
    """A stranger's word in a command that somebody may run."""
    return shlex.quote(printable(str(value)))


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


def read_bytes(folder: Path, line: Mapping[str, Any]) -> bytes:
    """The file of one sample of local shards, by its line of the table."""
    with open(folder / line["shard"], "rb") as shard:
        shard.seek(line["offset"])
        return shard.read(line["length"])


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
        why = f"cannot be read ({_first_line(error)})"
        raise ValueError(f"{root / SAMPLES_FILE} {why}. {_remedy(root)}") from error
    except ValueError as error:
        why = f"is not as dfd writes it: {error}"
        raise ValueError(f"{root / SAMPLES_FILE} {why}. {_remedy(root)}") from error


def _first_line(error: BaseException) -> str:
    """What a library says, without its stack of C++."""
    return printable((str(error) or type(error).__name__).splitlines()[0])[:200]


def _remedy(root: Path) -> str:
    path = somebodys_file(root)
    if path is not None and remake(root).startswith("dfd index"):
        return _way_on(root, path)
    return f"`{remake(root)}` makes it again."
