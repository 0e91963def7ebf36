"""Files and folders that a user names to be judged or inspected: which of their files are tried, and what is
said of the others.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from dfd.media.files import IMAGE_SUFFIXES, READ_SUFFIXES, VIDEO_SUFFIXES, elsewhere
from dfd.terminal import as_written, many, printable


def find_files(
    paths: Sequence[str | Path], command: str = "score CHECKPOINT"
) -> tuple[list[Path], list[Path]]:
    """The files to try, each once, and those in the folders that have no picture's suffix. A leading ~ is the
    home folder, also where the shell did not see it.

    Args:
        command: what stands before the files, for an error's advice.

    Raises ValueError where no path is given or one does not exist, a folder cannot be read, or nothing is
    left to try.
    """
    if not paths:
        raise ValueError(f"no picture was named. Name files or folders: dfd {command} photo.jpg folder/")
    files: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for path in map(Path, paths):
        if str(path).startswith("~") and not path.exists():
            path = Path(os.path.expanduser(path))
        if path.is_dir():
            for found in _walk(path):
                if found.suffix.lower() in IMAGE_SUFFIXES and (found.is_file() or found.is_symlink()):
                    files[found] = None
                else:
                    others[found] = None
        elif path.exists():
            files[path] = None
        else:
            shown = as_written(path)
            raise ValueError(f"there is no file or folder {shown}. {elsewhere(shown)}Nothing was done.")
    if not files:
        what = "; ".join(not_tried(list(others)))
        shards = any(path.suffix == ".tar" for path in others)
        more = "Shards are judged by dfd test CHECKPOINT --data.roots=FOLDER. " if shards else ""
        raise ValueError(
            f"no pictures in {', '.join(map(str, paths))}{f' ({what})' if what else ''}. {more}"
            f"Name files, or folders with files named {', '.join(sorted(READ_SUFFIXES))}."
        )
    return list(files), [path for path in others if path not in files]


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, by name; links to folders are followed, each folder is entered once."""

    def stop(error: OSError) -> None:
        raise ValueError(f"cannot read the folder {error.filename}: {error.strerror}. Nothing was done.")

    entered: set[str] = set()
    for root, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        if os.path.realpath(root) in entered:
            folders.clear()
            continue
        entered.add(os.path.realpath(root))
        folders.sort()  # in place: os.walk goes down in this order
        yield from (Path(root, name) for name in sorted(names))


def not_tried(others: Sequence[Path], of_videos: str = "name a video itself") -> list[str]:
    """What was left out of the folders that were walked, in words; of videos also what to do."""
    said = []
    videos = sum(path.suffix.lower() in VIDEO_SUFFIXES for path in others)
    if videos:
        said.append(f"{many(videos, 'video')} not tried ({of_videos})")
    if rest := len(others) - videos:
        said.append(f"{many(rest, 'other file')} not tried (no picture's suffix: {_kinds(others)})")
    return said


def _kinds(others: Sequence[Path]) -> str:
    """The commonest endings of files that are no pictures: ".txt, .csv and more"."""
    endings = Counter(path.suffix.lower()[:10] or "none" for path in others)
    common = [ending for ending, _ in endings.most_common() if ending not in VIDEO_SUFFIXES]
    return printable(", ".join(common[:3]) + (" and more" if len(common) > 3 else ""), keep="")
