"""Verbs on what files say of themselves, without a trained detector: inspect, custody."""

from __future__ import annotations

from pathlib import Path


def custody(log: Path, /, *, expect: str | None = None) -> int:
    """Checks a custody log: whether a line was changed, removed, moved or put in since dfd inspect wrote it.

    Exit code 0 if the log is whole, else 1, with the first line at fault.

    Args:
        log: File that dfd inspect --custody wrote.
        expect: Hash of a line that you noted elsewhere: then lines that were taken off the end are noticed,
        and
            a log that was written anew.
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


VERBS = (inspect, custody)
