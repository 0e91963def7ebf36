"""Verbs that make and check data sets: prepare, combine, index, reencode, cues, landmarks, audit, leaks."""

from __future__ import annotations

from pathlib import Path

from dfd.terminal import printable


def prepare(
    source: Path,
    /,
    *,
    out: Path,
    reader: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    allow_leaks: bool = False,
    frames: int | None = None,
    margin: float | None = None,
    faces: Path | None = None,
    task: str | None = None,
    merge: bool = False,
    real: list[str] | None = None,
    fake: list[str] | None = None,
    root: Path | None = None,
    max_rejected: float = 0.05,
    cues: bool = False,
    landmarks: Path | None = None,
) -> None:
    """Pictures become WebDataset shards of the original bytes, with a table of contents; the source is only
    read.

    Of videos, and of photographs whose faces have boxes, the faces are cut out and kept as PNG.

    Interrupted and started again, it goes on. Run again on a finished output it says what changed in the
    source since, and changes nothing. Splits that come with the source are kept; where it has train but no
    val, a tenth of the training families becomes val.

    Args:
        source: A folder of pictures or videos, or a CSV or JSON Lines file with path, label and optional
            group, split, source, method.
        out: Folder for the shards.
        reader: How to read the source, a built-in reader or package.module:function; by default its layout is
            recognised.
        workers: Processes, at least 1; by default one a core.
        overwrite: Replace what the folder holds.
        allow_leaks: Keep the source's own splits even where related pictures lie in two of them.
        frames: How many frames of each video are looked at, spread evenly over the whole of it.
        margin: Side of a cut square, as a multiple of the longer side of the face's box; by default 1.3.
        faces: YuNet's .onnx file, for videos; by default the one of DFD_YUNET or of the extra dfd[faces].
        task: Do a part of the slow work only, such as 3/16: the third of 16 tasks of a job array, into the
            same OUT.
        merge: Make the shards of what the tasks did; refuse if one is missing.
        real: What the source calls real pictures, besides real: a folder's name or a label in a table; may be
            given several times.
        fake: What it calls fake ones, besides fake.
        root: Folder that the paths in a table start at, by default the table's own; absolute paths lie in it
            too.
        max_rejected: Share of the files that may be rejected, from 0 to below 1; rejected.csv lists each.
        cues: Measure the forensic cues of every picture too, as dfd cues does, and store them in the table.
        landmarks: Find the points of the face in every picture too, as dfd landmarks does, by this
            face_landmark.tflite of 468 points.
    """
    from dfd.parallel import start_server

    start_server("dfd.prepare.passes")  # which imports while this process does, and plans
    from dfd.prepare.job_array import ArrayTask
    from dfd.prepare.pipeline import prepare
    from dfd.prepare.readers.class_names import ClassNames

    if task and (merge or overwrite):
        raise ValueError(
            "--task makes a part: it takes no --merge, which comes after all parts, and no --overwrite."
        )
    if landmarks is not None:
        from dfd.prepare.landmarks import add_landmarks, check_weights

        if task:
            raise ValueError("--task makes a part, without a table: give --landmarks together with --merge.")
        check_weights(landmarks, faces)
    report = prepare(
        source,
        out,
        reader,
        workers=workers,
        overwrite=overwrite,
        allow_leaks=allow_leaks,
        frames=frames,
        margin=margin,
        faces=faces,
        array_task=ArrayTask.parse(task) if task else None,
        merge=merge,
        class_names=ClassNames(tuple(real or ()), tuple(fake or ())),
        root=root,
        max_rejected=max_rejected,
        cues=cues,
    )
    _print_answer(report)
    if landmarks is not None:
        _print_answer(add_landmarks(out, landmarks, faces, workers))


def combine(faces_140k: Path, ciplab: Path, /, *, out: Path) -> None:
    """140K and ciplab's set become one tree of class folders: hard links where the file system has them, else
    copies.

    140K keeps its splits; ciplab's families are dealt 80/10/10 by their hash. Interrupted and started again,
    it goes on; a finished tree is left alone, and a folder that holds anything else is refused. Then: dfd
    prepare OUT --out SHARDS.

    Args:
        faces_140k: Folder of the 140K set, at any of its levels.
        ciplab: Folder of ciplab's set, at any of its levels.
        out: Folder for the tree; its pictures are the sources' own files, so do not edit them there.
    """
    from dfd.prepare.combine import combine

    _print_answer(combine(faces_140k, ciplab, out))


def index(root: Path, /, *, allow_leaks: bool = False, max_rejected: float = 0.05) -> None:
    """Makes the table of contents of WebDataset shards that were made elsewhere, and says how it read their
    labels.

    A label is the json's "label" or else the cls: real, fake, 0 (real) or 1 (fake). What dfd prepare made has
    its table.

    Args:
        root: Folder that holds the .tar files.
        allow_leaks: Keep the shards' own splits even where related pictures lie in two of them.
        max_rejected: Share of the samples that may be rejected, from 0 to below 1; rejected.csv lists each.
    """
    from dfd.prepare.index import index_root

    _print_answer(index_root(root, allow_leaks=allow_leaks, max_rejected=max_rejected))


def reencode(root: Path, /, *, out: Path, jpeg: int, size: int, workers: int | None = None) -> None:
    """Finished shards once more for a fair comparison: the central square of every picture is resized and
    encoded as JPEG alike.

    Splits, families and names stay. A picture smaller than SIZE is left out, since an enlarged one could be
    told from the rest.

    Args:
        root: Folder that dfd prepare or dfd index made.
        out: Folder for the second set of shards.
        jpeg: Quality of every picture, 1 to 100, such as 90; chroma is 4:2:0.
        size: Side of every picture in pixels, at least 16, such as 224.
        workers: Processes, at least 1; by default one a core.
    """
    from dfd.prepare.reencode import Reencoding, reencode

    _print_answer(reencode(root, out, Reencoding(jpeg=jpeg, size=size), workers))


def cues(root: Path, /, *, workers: int | None = None) -> None:
    """Forensic cues of every picture of finished shards, some hundred numbers each, into their table.

    They describe file, compression, noise, spectrum and pixels, for classifiers and for tables of your own.
    Interrupted and started again, it goes on; shards that have them are left alone.

    Args:
        root: Folder that dfd prepare or dfd index made.
        workers: Processes, at least 1; by default one a core.
    """
    from dfd.parallel import start_server

    start_server("dfd.prepare.cues")
    from dfd.prepare.cues import add_cues

    _print_answer(add_cues(root, workers))


def landmarks(root: Path, /, *, mesh: Path, faces: Path | None = None, workers: int | None = None) -> None:
    """Points of the face in every picture of finished shards, 468 each, beside their table: blends of faces
    follow them.

    Interrupted and started again, it goes on; shards that have those of the same weights are left alone.
    Pictures without a face are counted and get none.

    Args:
        root: Folder that dfd prepare or dfd index made.
        mesh: MediaPipe's face_landmark.tflite of 468 points.
        faces: YuNet's .onnx file; by default the one of DFD_YUNET or of the extra dfd[faces]. Without any,
            the face is looked for where face pictures have it.
        workers: Processes, at least 1; by default one a core.
    """
    from dfd.parallel import start_server

    start_server("dfd.prepare.landmarks")
    from dfd.prepare.landmarks import add_landmarks

    _print_answer(add_landmarks(root, mesh, faces, workers))


def audit(root: Path, /, *, out: Path | None = None, workers: int | None = None) -> None:
    """What prepared shards hold, and whether something other than forgery gives the label away: an HTML page
    with figures.

    It reads every shard whole, and compares its SHA-256 with the one in index.json.

    Args:
        root: Folder that dfd prepare or dfd index made.
        out: Folder for audit.html, its figures and facts.json; by default ROOT-audit beside the shards.
        workers: Processes that read pictures; by default one a core.
    """
    from dfd.audit import audit
    from dfd.shards.pattern import parse_root

    folder = Path(parse_root(root).folder).resolve()
    _print_answer(audit(root, out or folder.with_name(f"{folder.name}-audit"), workers))


def leaks(root: Path, /) -> int:
    """Related pictures in different splits of prepared shards: equal files, equal groups, near duplicates.

    Exit code 1 if there are any.

    Args:
        root: Folder that dfd prepare or dfd index made.
    """
    from dfd.shards.duplicates import find_leaks
    from dfd.shards.table import load_table

    found = find_leaks(load_table(root))
    _print_answer(found)
    return int(found.crossing)


VERBS = (prepare, combine, index, reencode, cues, landmarks, audit, leaks)


def _print_answer(answer: object) -> None:
    """Prints an answer that repeats names out of files, without their commands to the terminal."""
    print(printable(str(answer)))
