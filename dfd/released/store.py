"""Store of released detectors on this machine: what was fetched or reproduced, by name, with its checksums.

    $DFD_CACHE/models/NAME/VERSION/model.safetensors, ..., released.json

released.json is written last, so that a folder that holds one is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dfd.durable import explain_os_error, make_folder, sha256_of
from dfd.locks import take
from dfd.outputs import output_file
from dfd.released.download import fetch_file
from dfd.released.entry import Entry
from dfd.released.model_list import closest, open_list
from dfd.text_files import read_object

RECORD = "released.json"
FETCHED, REPRODUCED = "fetched", "reproduced"
_LOCK = ".lock"


@dataclass(frozen=True)
class Held:
    """A detector that lies here.

    Args:
        folder: of its files.
        name, version: as of its entry.
        how: fetched or reproduced.
        date: of that, YYYY-MM-DD.
        origin: list that it was fetched from, or run folder that it was reproduced in.
        weights: name of the file that is the detector.
        files: sha256 of each file by its name.
        reached: of a reproduced one, its figures in words.
    """

    folder: Path
    name: str
    version: int
    how: str
    date: str
    origin: str
    weights: str
    files: Mapping[str, str]
    reached: tuple[str, ...] = field(default=())

    @property
    def path(self) -> Path:
        """The file that is the detector."""
        return self.folder / self.weights

    def faults(self) -> list[str]:
        """What is wrong with its files, a line each."""
        found = []
        for name, sha256 in self.files.items():
            if not (self.folder / name).is_file():
                found.append(f"{self.folder / name} is missing")
            elif (now := sha256_of(self.folder / name)) != sha256:
                found.append(f"{self.folder / name}: its sha256 is {now[:12]}..., not {sha256[:12]}...")
        return found


def store() -> Path:
    """Where detectors lie: $DFD_CACHE/models or ~/.cache/dfd/models."""
    return Path(os.environ.get("DFD_CACHE") or Path.home() / ".cache" / "dfd") / "models"


def held(name: str) -> Held | None:
    """The detector of this name, of the latest version that lies here; None for none."""
    found = [each for each in everything_held() if each.name == name]
    return max(found, key=lambda each: each.version, default=None)


def everything_held() -> list[Held]:
    """All that lies here, by name and version. A folder without a whole record holds nothing yet."""
    found = []
    for record in sorted(store().glob(f"*/*/{RECORD}")):
        try:
            plain = read_object(record)
            one = Held(**{**plain, "folder": record.parent, "reached": tuple(plain.get("reached", ()))})
            if (one.name, str(one.version)) == record.parts[-3:-1] and one.weights in one.files:
                found.append(one)
        except (OSError, ValueError, TypeError):
            continue
    return found


def fetch(entry: Entry, base: str, say: Callable[[str], None]) -> Held:
    """Brings all files of a detector here; those that are here already are checked and left.

    Args:
        base: the list's place.
        say: told a line where something is worth knowing.

    Raises:
        ValueError: nobody hosts it, or no mirror gave a file.
        OSError: the disk is full or cannot be written, in words.
    """
    if not entry.files:
        raise ValueError(f"{entry.name} is hosted nowhere. {how_to_make(entry.name)}")
    folder = _folder(entry)
    with _alone(folder):
        for file in entry.files:
            path = folder / file.name
            if path.is_file() and path.stat().st_size == file.bytes and sha256_of(path) == file.sha256:
                continue
            say(f"{file.name}: {file.bytes / 1e6:.1f} MB")
            fetch_file(file, folder, base, say)
        files = {file.name: file.sha256 for file in entry.files}
        return _record(
            Held(folder, entry.name, entry.version, FETCHED, _today(), base, entry.weights.name, files)
        )


def keep(entry: Entry, made: Path, weights: str, reached: tuple[str, ...]) -> Held:
    """Copies a reproduced detector here, in place of an earlier one of its version.

    Args:
        made: folder with its files.
        weights: name of the file among them that is the detector.
        reached: its figures in words.

    Raises:
        OSError: the disk is full or cannot be written, in words.
    """
    folder, files = _folder(entry), {}
    with _alone(folder):
        # not what it is to be, until the record says so again
        (folder / RECORD).unlink(missing_ok=True)
        for source in sorted(path for path in made.iterdir() if path.is_file()):
            with output_file(folder / source.name) as temporary:
                shutil.copyfile(source, temporary)
            files[source.name] = sha256_of(folder / source.name)
        return _record(
            Held(folder, entry.name, entry.version, REPRODUCED, _today(), str(made), weights, files, reached)
        )


def resolve(path: str | os.PathLike[str]) -> Path:
    """The file of a released detector where a path is the name of one and nothing lies there, else the path
    itself.

    Raises:
        ValueError: the detector is not here yet, or its files are no longer what they were; what to do.
    """
    name, given = os.fspath(path), Path(path)
    if not name or os.sep in name or given.suffix or os.path.lexists(given):
        return given
    one = held(name)
    if one is not None:
        if faults := one.faults():
            raise ValueError(f"{name} is damaged: {faults[0]}. Remove {one.folder}, and get it again.")
        return one.path
    try:
        names = {entry.name: entry for entry in open_list().entries}
    except ModuleNotFoundError:  # without the package that checks signatures nothing is known of the list
        return given
    if name in names:
        raise ValueError(f"{name} is a released detector that is not here. {how_to_get(names[name])}")
    if like := closest(name, [*names, *(each.name for each in everything_held())]):
        raise ValueError(f"there is no file {name}, and no released detector of this name. {like}".strip())
    return given


def how_to_get(entry: Entry) -> str:
    """What brings a detector of a list here."""
    return f"`dfd models fetch {entry.name}` brings it." if entry.files else how_to_make(entry.name)


def how_to_make(name: str) -> str:
    """What to do about a detector that nobody hosts."""
    return f"`dfd reproduce {name} --data PICTURES --out FOLDER` makes it of public data."


def _folder(entry: Entry) -> Path:
    folder = store() / entry.name / str(entry.version)
    make_folder(folder)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time fills a folder; another waits."""
    lock = take(folder / _LOCK, wait=True)
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, folder) from error
    finally:
        if lock is not None:
            lock.release()


def _record(one: Held) -> Held:
    plain = {name: value for name, value in asdict(one).items() if name != "folder"}
    with output_file(one.folder / RECORD) as temporary:
        temporary.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    return one


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
