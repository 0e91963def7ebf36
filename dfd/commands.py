"""Our own verbs: one plain typed function each, which cyclopts serves.

A signature is a command line: what comes before `*` is positional, the rest are options; the docstring is the help page.
Imports are inside, so that `dfd --help` and a mistyped option are answered at once.
"""

from __future__ import annotations

from pathlib import Path


def prepare(
    source: Path,
    /,
    *,
    out: Path,
    reader: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    allow_leaks: bool = False,
    match: str | None = None,
) -> None:
    """Pictures become WebDataset shards of the original bytes, with a table of contents; the source is only read.

    Interrupted and started again, it goes on. Run again on a finished output it says what changed in the source since, and
    changes nothing. Splits that come with the source are kept; where it has train but no val, a tenth of the training families
    becomes val.

    Args:
        source: A folder of pictures, or a CSV or JSON Lines file with path, label and optional group, split, source, method.
        out: Folder for the shards.
        reader: How to read the source, a built-in reader or package.module:function; by default its layout is recognised.
        workers: Processes, at least 1; by default one a core.
        overwrite: Replace what the folder holds.
        allow_leaks: Keep the source's own splits even where related pictures lie in two of them.
        match: For a fair comparison: "jpeg=90,size=224" makes a second set of finished shards (SOURCE), in which the central
            square of every picture is resized and encoded alike.
    """
    from dfd.data.prepare import prepare

    if match is not None:
        from dfd.data.match import Match, matched

        if reader or overwrite or allow_leaks:
            raise ValueError(
                "--match makes a second set of finished shards: it takes no --reader, --overwrite or --allow-leaks."
            )
        print(matched(source, out, Match.parse(match), workers))
        return

    print(prepare(source, out, reader, workers=workers, overwrite=overwrite, allow_leaks=allow_leaks))


def index(root: Path, /, *, allow_leaks: bool = False) -> None:
    """Makes the table of contents of WebDataset shards that were made elsewhere, and says how it read their labels.

    A label is the json's "label" or else the cls: real, fake, 0 (real) or 1 (fake). What dfd prepare made has its table.

    Args:
        root: Folder that holds the .tar files.
        allow_leaks: Keep the shards' own splits even where related pictures lie in two of them.
    """
    from dfd.data.index import index_root

    print(index_root(root, allow_leaks=allow_leaks))


def combine(faces_140k: Path, ciplab: Path, /, *, out: Path) -> None:
    """140K and ciplab's set become one tree of class folders: hard links where the file system has them, else copies.

    140K keeps its splits; ciplab's families are dealt 80/10/10 by their hash. Interrupted and started again, it goes on; a
    finished tree is left alone, and a folder that holds anything else is refused. Then: dfd prepare OUT --out SHARDS.

    Args:
        faces_140k: Folder of the 140K set, at any of its levels.
        ciplab: Folder of ciplab's set, at any of its levels.
        out: Folder for the tree; its pictures are the sources' own files, so do not edit them there.
    """
    from dfd.data.combine import combine

    print(combine(faces_140k, ciplab, out))


def audit(root: Path, /, *, out: Path | None = None, leaks: bool = False, workers: int | None = None) -> int:
    """What prepared shards hold, and whether something other than forgery gives the label away: an HTML page with figures.

    Args:
        root: Folder that dfd prepare or dfd index made.
        out: Folder for audit.html, its figures and facts.json; by default ROOT-audit beside the shards.
        leaks: Only look for related pictures in different splits: equal files, equal groups, near duplicates. Exit code 1
            if there are any.
        workers: Processes that read pictures; by default one a core.
    """
    from dfd.data.audit import audit, find_leaks
    from dfd.data.shards import load_table

    if leaks:
        found = find_leaks(load_table(root))
        print(found)
        return int(found.crossing)
    print(audit(root, out or root.resolve().with_name(f"{root.resolve().name}-audit"), workers))
    return 0


def score(
    checkpoint: Path,
    /,
    *paths: Path,
    whole: bool = False,
    faces: Path | None = None,
    json: bool = False,
    csv: Path | None = None,
    device: str = "cpu",
    batch_size: int = 32,
    workers: int | None = None,
    allow: tuple[str, ...] = (),
) -> int:
    """Judges every face in files and folders: one line a face, real, fake or inconclusive, or why there is no verdict.

    Args:
        checkpoint: File that dfd fit wrote; nothing else is needed, and no network.
        paths: Pictures, and folders that are walked for pictures.
        whole: Take each file as a face crop like those in training instead of looking for faces.
        faces: YuNet's .onnx file; by default the one of DFD_YUNET or of the extra dfd[faces].
        json: Print JSON Lines, one object a face.
        csv: Also write a table to this file; - prints it instead of the text.
        device: Where the net runs, as torch names it.
        batch_size: Crops that go through the net at once.
        workers: Threads that decode and find faces; by default up to four.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package.
    """
    from dfd.inference import score_files

    packages = ("dfd.", *(f"{package.rstrip('.')}." for package in allow))
    return score_files(checkpoint, paths, whole, faces, json, csv, device, packages, batch_size, workers)
