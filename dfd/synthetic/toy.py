"""Making the embedded toy set: drawn faces, half of them forged, written as shards on first use.

All bytes follow from (seed, number of pictures, size), on any number of processes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfd.batch import FAKE, REAL
from dfd.interpreters import fresh
from dfd.locks import take
from dfd.media.encode import encode_jpeg
from dfd.synthetic.camera import QUALITIES
from dfd.synthetic.forgery import METHODS, blended_swap, sit_for_swap, upsampled, warped
from dfd.synthetic.person import Person
from dfd.synthetic.portrait import draw_person
from dfd.text_files import read_object

_log = logging.getLogger(__name__)
# of the drawings: raise it when a change here changes a byte, and kept sets of old drawings are not taken for
# new
VERSION = 2
FAMILY = (
    6  # pictures of two persons who appear with each other only, so that swaps never join families into one
)
# of every ten families; a larger set keeps each drawing of a smaller one in its split
SPLIT = {0: "val", 1: "test"}
NOTE = "faces drawn by dfd and forgeries of them: drawings, not photographs"


def toy_root(num_images: int = 2400, size: int = 160, seed: int = 0) -> Path:
    """Where the toy set of these parameters is kept: in $DFD_CACHE, else in ~/.cache/dfd."""
    cache = Path(os.environ.get("DFD_CACHE") or Path.home() / ".cache" / "dfd")
    name = hashlib.sha256(json.dumps(_made_by(num_images, size, seed), sort_keys=True).encode()).hexdigest()[
        :12
    ]
    return cache / f"toy-{name}"


def make_toy(
    root: Path, num_images: int = 2400, size: int = 160, seed: int = 0, workers: int | None = None
) -> Path:
    """Writes the toy set as shards at `root` and says so; where it is already, returns at once.

    Args:
        num_images: half real, half fake, the three methods equally; at least 18, for three splits of whole
            families.
        size: side of the pictures in pixels, at least 64.
        workers: processes that draw; by default one for each core this process may use.

    Raises:
        ValueError: too few or too small pictures, or `root` holds something else.
    """
    from dfd.shards.samples import NewSample, write_samples  # pyarrow: not for the processes that only draw

    root = Path(root)
    if num_images < 3 * FAMILY or size < 64:
        raise ValueError(
            f"num_images={num_images}, size={size}: the toy set takes {3 * FAMILY} or more pictures, 64 "
            "pixels or larger."
        )
    made_by = _made_by(num_images, size, seed)
    if _is_made(root, made_by):
        return root
    with _alone(root):
        if _is_made(root, made_by):  # another rank made it while this one waited
            return root
        start = time.monotonic()
        _log.info("Drawing %d toy faces (drawings, not photographs) into %s", num_images, root)
        samples = (NewSample(**sample) for sample in _draw_all(num_images, size, seed, workers or _cores()))
        write_samples(samples, root, made_by)
        _log.info("Drew them in %.0f s: %s", time.monotonic() - start, root)
    return root


def draw_sample(number: int, num_images: int, size: int, seed: int) -> dict[str, Any]:
    """Sample `number` of a toy set: the fields of `dfd.shards.samples.Made`."""
    family, slot = divmod(number, FAMILY)
    rng = np.random.default_rng((seed, family, slot))
    label = FAKE if slot % 2 else REAL
    method = METHODS[slot // 2] if label == FAKE else ""
    # Both persons give real pictures and forgeries, whichever the family: a face alone says nothing.
    who, other = (2 * family + (slot + slot // 2 + family + part) % 2 for part in (0, 1))
    identity = dict(enumerate(couple(seed, family), start=2 * family))
    portrait = draw_person(identity[who], rng, size)
    picture, mask, groups = portrait.picture, None, (f"toy-{seed}-{who}",)
    if method == "upsampled":
        picture, mask = upsampled(portrait, rng)
    elif method == "blended_swap":
        donor = draw_person(identity[other], rng, size, sit_for_swap(portrait.sitting, rng))
        picture, mask = blended_swap(portrait, donor, rng)
        groups = (*groups, f"toy-{seed}-{other}")
    elif method == "warped":
        picture, mask = warped(portrait, rng)
    return {
        "key": f"toy-{seed}-{number:06d}",
        "image_bytes": encode_jpeg(picture, int(rng.choice(QUALITIES))),
        "label": label,
        "split": SPLIT.get(family % 10, "train"),
        "source": "toy",
        "method": method,
        "groups": groups,
        "mask_bytes": None if mask is None else cv2.imencode(".png", mask)[1].tobytes(),
    }


@functools.lru_cache(maxsize=16)
def couple(seed: int, family: int) -> tuple[int, int]:
    """The identities of a family's two persons; the second, of eight, has a skin like the first's, as forgers
    choose.
    """
    first, *others = (9 * ((seed << 32) + family) + stranger for stranger in range(9))
    skin = Person.born(first).skin
    return first, min(
        others, key=lambda identity: float(np.abs(np.log(Person.born(identity).skin / skin)).sum())
    )


def serve(part: int, parts: int, num_images: int, size: int, seed: int) -> None:
    """What a drawing process does: every `parts`-th sample from `part` on, pickled to the standard output."""
    cv2.setNumThreads(0)  # one process, one core
    # after Ctrl-C the maker ends its painters, without a traceback each
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in range(part, num_images, parts):
        pickle.dump(draw_sample(number, num_images, size, seed), sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _draw_all(num_images: int, size: int, seed: int, workers: int) -> Iterator[dict[str, Any]]:
    """All samples in order.

    Fresh interpreters rather than multiprocessing: a fork of a process that runs torch and OpenCV threads can
    hang, and a spawn runs the user's script again.
    """
    path = os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parents[2])])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    workers = min(workers, num_images)
    code = "import sys; from dfd.synthetic.toy import serve; serve(*map(int, sys.argv[1:]))"
    arguments = [
        fresh("-c", code, *map(str, (part, workers, num_images, size, seed))) for part in range(workers)
    ]
    painters = [subprocess.Popen(line, env=env, stdout=subprocess.PIPE) for line in arguments]
    try:
        for number in range(num_images):
            painter = painters[number % workers]
            try:
                yield pickle.load(painter.stdout)
            except EOFError:
                raise RuntimeError(
                    f"A process that draws the toy set ended early (exit code {painter.wait()})."
                ) from None
    finally:
        for painter in painters:
            painter.kill()
            painter.wait()
            painter.stdout.close()


def _made_by(num_images: int, size: int, seed: int) -> dict[str, Any]:
    return {"what": NOTE, "version": VERSION, "num_images": num_images, "size": size, "seed": seed}


def _is_made(root: Path, made_by: dict[str, Any]) -> bool:
    index = root / "index.json"
    if not index.is_file():
        return False
    found = read_object(index).get("made_by")
    if found != made_by:
        raise ValueError(
            f"{root} holds other shards (made by {found}), not {made_by}. Choose another folder or remove it."
        )
    return True


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Holds other makers of the same root back, where the file system has locks; where not, the first to
    finish wins.
    """
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        lock = take(root.with_name(f".{root.name}.lock"), wait=True)
    except OSError as error:
        reason = (
            f"{root.parent} cannot be written ({error.strerror}). Set DFD_CACHE to a folder for the toy set "
            "that can."
        )
        raise OSError(error.errno, reason) from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
