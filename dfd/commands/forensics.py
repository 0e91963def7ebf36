"""Verbs on what files say of themselves, without a trained detector: inspect, custody, fingerprint,
bench-forensics.
"""

from __future__ import annotations

from pathlib import Path


def custody(log: Path, /, *, expect: str | None = None) -> int:
    """Checks a custody log: whether each line follows from the one before, as dfd inspect wrote it.

    A line that was changed, removed, moved or put in breaks that; lines taken off the end do not. Exit code 0
    if each line follows, else 1, with the first line at fault.

    Args:
        log: File that dfd inspect --custody wrote.
        expect: Hash of a line that you noted elsewhere: only by it are lines noticed that were taken off the
            end, and a log that was written anew.
    """
    from dfd.forensics.custody import summary, verify

    found = verify(log, expect)
    print(summary(log, found))
    return int(found.fault is not None)


def inspect(
    *paths: Path,
    out: Path,
    checkpoint: Path | None = None,
    json: bool = False,
    faces: Path | None = None,
    mesh: Path | None = None,
    camera: Path | None = None,
    trust: Path | None = None,
    custody: Path | None = None,
    language: str = "en",
    workers: int | None = None,
    device: str = "cpu",
    allow: tuple[str, ...] = (),
) -> int:
    """What a file says of its own making: metadata, provenance, compression, noise, spectrum, pixels, face. A
    page a file, the strongest evidence first.

    No trained detector is needed, and no network. Each tool says how often it errs; nothing is added up to
    one number. Exit code 0 where every file could be examined whole, else 1.

    Args:
        paths: Pictures, folders that are walked for pictures, and videos, whose faces are followed over time.
        out: New folder for the pages, a JSON file beside each, and an index of several.
        checkpoint: File that dfd fit wrote: its verdict stands beside the tools' findings.
        json: Print JSON Lines, one object a file.
        faces: YuNet's .onnx file, for what is measured on faces; by default the one of DFD_YUNET or of the
            extra dfd[faces].
        mesh: Mesh of 468 face points, a .tflite file, for finer measurements on faces.
        camera: A camera's fingerprint, made by dfd fingerprint: was this picture taken with it?
        trust: Certificates of signers that you trust, a PEM file, for signed provenance.
        custody: Log to which a line a file is added: who, when, its hash; dfd custody checks it.
        language: Of the page's words.
        workers: Processes, at least 1; by default one a core.
        device: Where the detector runs, as torch names it.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
    """
    from dfd.forensics.tools import Files
    from dfd.inspection import inspect_files

    return inspect_files(
        paths,
        out,
        checkpoint=checkpoint,
        json=json,
        files=Files(faces=faces, mesh=mesh, camera=camera, trust=trust),
        custody=custody,
        workers=workers,
        language=language,
        device=device,
        allow=allow,
    )


def fingerprint(*photos: Path, out: Path) -> None:
    """The fingerprint of a camera's sensor, from photos that it took: dfd inspect --camera OUT then tells
    whether another photo came from it.

    Twenty photos or more serve well, best of bright, even scenes such as a cloudy sky; all straight from the
    camera, of one size, none edited, cropped, resized or sent through a messenger. The photo in question must
    not be among them.

    Args:
        photos: Files of one camera, or folders of them, which are walked for pictures.
        out: File for the fingerprint, such as camera.npz.
    """
    from dfd.forensics.noise import fingerprint_files
    from dfd.inference.named_files import find_files, not_tried
    from dfd.outputs import check_file

    check_file(out, f"--out {out}", heads=(b"PK\x03\x04",))
    if out.suffix != ".npz":
        raise ValueError(f"--out {out}: a fingerprint is an .npz file. Name it {out.with_suffix('.npz')}.")
    files, others = find_files(photos, f"fingerprint --out {out}")
    made = fingerprint_files(files)
    made.save(out)
    height, width = made.pattern.shape
    few = "" if made.photos >= 10 else "; few: with 20 it is found far more surely"
    print(f"{out}: the fingerprint of {made.photos} photos of {width} x {height} pixels{few}")
    for line in not_tried(others, "a film is no photograph"):
        print(line)


def bench_forensics(
    *,
    out: Path,
    originals: tuple[Path, ...] = (),
    on: tuple[str, ...] = (),
    tools: tuple[str, ...] = (),
    quick: bool = False,
    scenes: int | None = None,
    limit: int | None = None,
    faces: Path | None = None,
    mesh: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """How far the tools of dfd inspect may be believed: what they find of planted edits, how well they tell
    fakes from real pictures, how often they accuse an untouched photograph.

    OUT gets REPORT.md and report.html, metrics.csv and metrics.parquet, a line for each tool, set, condition,
    part and metric with its 95% interval, and measured.json, whose figures a page prints beside a finding.
    Photographs of a simulated camera and the toy set need no data. Interrupted and started again, it goes on.

    Args:
        out: Folder of the results: new, or that of an earlier dfd bench-forensics.
        originals: Photographs as their cameras wrote them, and folders of such: for false alarms, and for
            planted edits.
        on: Finished shards of real and fake pictures: one or several; NAME=ROOT gives one another name.
        tools: Names of the tools to measure; by default all.
        quick: A few pictures of each set, for a look.
        scenes: Photographs of the simulated camera that are edited; by default 20.
        limit: Pictures of each class of shards, at most; by default 60.
        faces: YuNet's .onnx file, for the tools that look at faces; by default the one of DFD_YUNET or of the
            extra dfd[faces].
        mesh: Mesh of 468 face points, a .tflite file, for those that need it.
        seed: Of scenes and edits.
        workers: Processes, at least 1; by default one a core.
    """
    from dataclasses import replace

    from dfd.evaluate.forensic_benchmark import QUICK, Sizes, ToolsOf, bench, sets_of
    from dfd.forensics.tools import Files

    sizes = QUICK if quick else Sizes()
    given = {name: value for name, value in (("scenes", scenes), ("limit", limit)) if value is not None}
    for name, value in given.items():
        if value < 2:
            raise ValueError(f"--{name} {value}: it takes at least 2.")
    sets = sets_of(on, originals, replace(sizes, **given), seed)
    print(bench(out, sets, ToolsOf(Files(faces=faces, mesh=mesh)), tools, seed, workers))


VERBS = (custody, inspect, fingerprint, bench_forensics)
