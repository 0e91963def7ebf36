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
) -> None:
    """Pictures become WebDataset shards of the original bytes, with a table of contents; the source is only read.

    Interrupted and started again, it goes on; a finished output is left alone. Splits that come with the source are kept.

    Args:
        source: A folder of pictures, or a CSV or JSON Lines file with path, label and optional group, split, source, method.
        out: Folder for the shards.
        reader: How to read the source, a built-in reader or package.module:function; by default its layout is recognised.
        workers: Processes; by default one a core.
        overwrite: Replace what the folder holds.
        allow_leaks: Keep the source's own splits even where related pictures lie in two of them.
    """
    from dfd.data.prepare import prepare

    print(prepare(source, out, reader, workers=workers, overwrite=overwrite, allow_leaks=allow_leaks))


def index(root: Path, /, *, allow_leaks: bool = False) -> None:
    """Makes the table of contents of WebDataset shards that were made elsewhere.

    Args:
        root: Folder that holds the .tar files.
        allow_leaks: Keep the shards' own splits even where related pictures lie in two of them.
    """
    from dfd.data.index import index_root

    print(index_root(root, allow_leaks=allow_leaks))


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
        csv: Also write a table to this file; --csv=- prints it instead of the text.
        device: Where the net runs, as torch names it.
        batch_size: Crops that go through the net at once.
        workers: Threads that decode and find faces; by default up to four.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package.
    """
    from dfd.inference import score_files

    packages = ("dfd.", *(f"{package.rstrip('.')}." for package in allow))
    return score_files(checkpoint, paths, whole, faces, json, csv, device, packages, batch_size, workers)
