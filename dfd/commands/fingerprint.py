"""Verb about cameras: fingerprint."""

from __future__ import annotations

from pathlib import Path


def fingerprint(*photos: Path, out: Path) -> None:
    """The fingerprint of a camera's sensor, from photos that it took: dfd inspect --camera OUT then tells
    whether another photo came from it.

    Twenty photos or more serve well, best of bright, even scenes such as a cloudy sky; all straight from the
    camera, of one size, none edited, cropped, resized or sent through a messenger. The photo in question must
    not be among them.

    Args:
        photos: Files of one camera.
        out: File for the fingerprint, such as camera.npz.
    """
    from dfd.forensics.noise import fingerprint_files
    from dfd.outputs import check_file

    check_file(out, f"--out {out}", heads=(b"PK\x03\x04",))
    if out.suffix != ".npz":
        raise ValueError(f"--out {out}: a fingerprint is an .npz file. Name it {out.with_suffix('.npz')}.")
    made = fingerprint_files(photos)
    made.save(out)
    height, width = made.pattern.shape
    few = "" if made.photos >= 10 else "; few: with 20 it is found far more surely"
    print(f"{out}: the fingerprint of {made.photos} photos of {width} x {height} pixels{few}")


VERBS = (fingerprint,)
