"""A trained generator's pictures as shards to train a detector on, told from reals by nothing but what they
show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc
import torch

from dfd.batch import FAKE, REAL
from dfd.detector import load_net
from dfd.forensics.imitate import JpegStyle
from dfd.media.decode import decode
from dfd.models import Generator
from dfd.models.seal import sha256_of
from dfd.outputs import check_new_folder
from dfd.progress import progress
from dfd.shards.pattern import parse_root
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.splits import SPLITS
from dfd.shards.table import load_table

FEWEST = 0.95  # of the reals must be JPEGs that can be imitated: the others' format would give the fakes away
ASKED = 400  # reals that are asked whether they can
JITTER = 0.03  # of a file's length: with that of its model, each fake would have a twin among the reals
STEPS = 10  # of the search for that length, which ends within half a percent of it
# times the detail of the real: where that is hardly larger than the generator's pictures, it has next to none
MOST = 64.0


class Fakes:
    """A generator's pictures, each written as some real of `like` was: `fakes[index]` depends on seed and
    index alone.

    Enlarged to the size of a photograph, a generator's picture lacks a photograph's fine detail, and so its
    file lacks bytes. What the drawn real shows above the generator's resolution is therefore added with its
    phases at random: noise with the spectrum of that real, which shows nothing of it. There is as much of it
    as brings the file to the length of the real's, give or take a few percent; a real with less detail than
    the generator's picture gets a blurred one. Size, quantization tables, chroma and metadata are the real's
    own.

    Args:
        net: on the CPU, in evaluation mode; JPEGs are what takes the time.
        like: shards with reals in `split`.
        seed: of the latents, and of the order in which reals are drawn: each of them once before one comes
            twice.

    Raises:
        ValueError: `like` holds no shards, no reals in that split, or too many reals that cannot be imitated.
    """

    def __init__(self, net: Generator, like: Path, split: str = "train", seed: int = 0):
        table = load_table(like)
        reals = table.filter(pc.and_(pc.equal(table["label"], REAL), pc.equal(table["split"], split)))
        self.net, self.folder, self.seed = net, Path(parse_root(like).folder), seed
        self.reals = reals.select(["shard", "offset", "length"]).to_pylist()
        if not self.reals:
            raise ValueError(
                f"{like}: no real picture in the {split} split, so there is none to write the fakes like."
            )
        asked = self._order(turn=0)[:ASKED]
        apt = sum(JpegStyle.of(self._read(at)) is not None for at in asked)
        if apt < FEWEST * len(asked):
            raise ValueError(
                f"{like}: {len(asked) - apt} of {len(asked)} reals are no JPEGs that can be imitated, so the "
                "files' format would tell the fakes. Make all alike first, "
                f"`dfd reencode {like} --out ALIKE --jpeg 90 --size 224`, and name ALIKE instead."
            )

    def __getitem__(self, index: int) -> bytes:
        """A JPEG."""
        rng = np.random.default_rng((self.seed, index))
        small = self._picture(rng)
        data, style = self._model(index)
        real = decode(data)
        size, small_size = real.shape[1::-1], small.shape[1::-1]
        detail = _scrambled(_above(real, small_size), rng) * _activity(small, size)
        return _of_length(
            style, _resized(small, size), detail, len(data) * np.exp(JITTER * rng.standard_normal())
        )

    @torch.inference_mode()
    def _picture(self, rng: np.random.Generator) -> np.ndarray:
        """(h, w, 3) float32 in grey levels; one at a time, since those beside it in a batch would change its
        last digits.
        """
        latent = torch.from_numpy(rng.standard_normal((1, self.net.latent), np.float32))
        return self.net(latent)[0].permute(1, 2, 0).mul(255).numpy()

    def _model(self, index: int) -> tuple[bytes, JpegStyle]:
        """The file of the real that picture `index` is written like, or of the next that can be imitated."""
        turn, place = divmod(index, len(self.reals))
        for at in np.roll(self._order(turn), -place):
            data = self._read(at)
            if style := JpegStyle.of(data):
                return data, style
        raise AssertionError("the constructor has seen some")

    def _order(self, turn: int) -> np.ndarray:
        return np.random.default_rng((self.seed, turn, 1)).permutation(len(self.reals))

    def _read(self, at: int) -> bytes:
        with open(self.folder / self.reals[at]["shard"], "rb") as shard:
            shard.seek(self.reals[at]["offset"])
            return shard.read(self.reals[at]["length"])


def generate(
    checkpoint: Path,
    out: Path,
    like: Path,
    num: int,
    seed: int = 0,
    split: str = "train",
    source: str = "dfd-gan",
    method: str = "fastgan",
    allow: Iterable[str] = (),
) -> str:
    """Writes `num` fakes as shards, whole or not at all, and returns what to tell the user.

    Raises:
        ValueError: no generator in the checkpoint, nothing to be like, `out` not empty, or an argument out of
            range.
        OSError: disk full or unwritable, in words.
    """
    if num < 1:
        raise ValueError(f"--num {num}: it takes at least one picture.")
    if seed < 0:
        raise ValueError(f"--seed {seed} is negative. Use 0 or more.")
    if split not in SPLITS:
        raise ValueError(f"--split {split}: splits are {', '.join(SPLITS)}.")
    check_new_folder(out, Path(parse_root(like).folder))  # said now, not after an hour's work
    net, _ = load_net(checkpoint, allow=allow, role="generator")
    fakes = Fakes(net, like, split, seed)
    made_by = {
        "command": "generate", "checkpoint": str(checkpoint.resolve()), "seed": seed,
        "like": str(like.resolve()),
        "checkpoint_sha256": sha256_of(checkpoint),
    }  # fmt: skip
    with progress(num, "generating") as advance:

        def samples() -> Iterator[NewSample]:
            for index in range(num):
                yield NewSample(f"{source}-{index:06d}", fakes[index], FAKE, split, source, method)
                advance(1)

        write_samples(samples(), out, made_by)
    made = f"{num} fakes ({source}, {method}) in the {split} split"
    return f"{made}, written like the {len(fakes.reals)} reals of {like}: {out}"


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """To (width, height): by area where it shrinks, else by a cubic."""
    shrinks = image.shape[0] > size[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _above(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What a picture (H, W, 3) loses on its way through (width, height): float32, in grey levels."""
    image = image.astype(np.float32)
    return image - _resized(_resized(image, size), image.shape[1::-1])


def _scrambled(detail: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same spectrum in and between the channels, with random phases. (H, W, 3)"""
    phase = np.fft.rfft2(rng.standard_normal(detail.shape[:2]))  # of real noise, so that the outcome is real
    phase /= np.abs(phase) + 1e-12
    spectrum = np.fft.rfft2(detail, axes=(0, 1)) * phase[..., None]
    return np.fft.irfft2(spectrum, s=detail.shape[:2], axes=(0, 1)).astype(np.float32)


def _activity(small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How much of the detail each place gets, by how much a picture has there in its own last octave: (H, W,
    1), 1 on average.

    Hair has detail at every scale, a wall at none. The square root, since in proportion edges would glitter.
    """
    height, width = small.shape[:2]
    energy = (_above(small, (width // 2, height // 2)) ** 2).mean(axis=2)
    energy = cv2.resize(cv2.GaussianBlur(energy, (0, 0), width / 32), size, interpolation=cv2.INTER_LINEAR)
    strength = (energy + 1e-3) ** 0.25
    return (strength / strength.mean())[..., None]


def _of_length(style: JpegStyle, base: np.ndarray, detail: np.ndarray, length: float) -> bytes:
    """The file nearest to `length` bytes: the picture with some of the detail, or out of focus where it has
    too much.
    """

    def encoded(amount: float) -> bytes:  # files grow with it
        picture = (
            base + amount * detail
            if amount > 0
            else cv2.GaussianBlur(base, (0, 0), 0.01 - amount * base.shape[1] / 8)
        )
        return style.encode(picture.clip(0, 255).round().astype(np.uint8))

    low, high = -1.0, 1.0
    while len(encoded(high)) < length and high < MOST:
        low, high = high, 2 * high
    files = []
    for _ in range(STEPS):
        amount = (low + high) / 2
        files.append(encoded(amount))
        low, high = (amount, high) if len(files[-1]) < length else (low, amount)
    return min(files, key=lambda data: abs(len(data) - length))
