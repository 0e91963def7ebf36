"""Pictures of a trained generator, or of autoencoders, as shards to train a detector on, told from reals by
nothing but what they show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dfd.batch import FAKE
from dfd.detector import load_net
from dfd.durable import sha256_of
from dfd.forensics.imitate import JpegStyle
from dfd.inference.reconstruct import Reconstructions
from dfd.inference.written_like import Reals
from dfd.media.decode import decode
from dfd.models import Autoencoder, Generator
from dfd.outputs import check_new_folder
from dfd.progress import progress
from dfd.shards.pattern import parse_root
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.splits import SPLITS

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
        self.net, self.seed, self.reals = net, seed, Reals(like, [split], seed)

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
            data = self.reals.read(at)
            if style := JpegStyle.of(data):
                return data, style
        raise AssertionError("the constructor has seen some")

    def _order(self, turn: int) -> np.ndarray:
        return np.random.default_rng((self.seed, turn, 1)).permutation(len(self.reals))


def generate(
    checkpoints: Sequence[Path],
    out: Path,
    like: Path,
    num: int | None = None,
    seed: int = 0,
    splits: Sequence[str] = ("train",),
    source: str = "",
    method: str = "",
    detail: tuple[float, float] = (0.2, 0.8),
    allow: Iterable[str] = (),
) -> str:
    """Writes fakes as shards, whole or not at all, and returns what to tell the user.

    Args:
        checkpoints: one generator, or autoencoders of different kinds.
        num: how many fakes; of a generator alone.
        splits: where they belong, and whose reals they are made of or like; one of a generator.
        source, method: what the table calls them; "" for `dfd-gan` and `fastgan`, and of reconstructions for
            the real's source and the kind of decoder.
        detail: of reconstructions, as in `Reconstructions`.

    Raises:
        ValueError: no such nets in the checkpoints, nothing to be like, `out` not empty, or an argument out
            of range.
        OSError: disk full or unwritable, in words.
    """
    if seed < 0:
        raise ValueError(f"--seed {seed} is negative. Use 0 or more.")
    if unknown := [split for split in splits if split not in SPLITS]:
        raise ValueError(f"--splits {' '.join(unknown)}: splits are {', '.join(SPLITS)}.")
    if num is not None and num < 1:
        raise ValueError(f"--num {num}: it takes at least one picture.")
    check_new_folder(out, Path(parse_root(like).folder))  # said now, not after an hour's work
    nets = [load_net(path, allow=allow, role="generator")[0] for path in checkpoints]
    made_by: dict[str, Any] = {"command": "generate", "seed": seed, "like": str(like.resolve())}
    if any(isinstance(net, Autoencoder) for net in nets):
        if num is not None:
            raise ValueError(f"--num {num}: an autoencoder makes one picture of each real. Leave it out.")
        kinds = _by_kind(nets, checkpoints)
        made_by |= {
            "checkpoints": [str(path.resolve()) for path in checkpoints],
            "splits": list(splits),
            "detail": list(detail),
            "checkpoints_sha256": [sha256_of(path) for path in checkpoints],
        }
        reconstructions = Reconstructions(kinds, Reals(like, splits, seed), detail, seed)
        return _write_reconstructions(reconstructions, out, made_by, source, method)
    if len(nets) != 1 or len(splits) != 1:
        raise ValueError(
            f"{len(nets)} generators, {len(splits)} splits: a generator's fakes take a command for each "
            "checkpoint and each split."
        )
    if num is None:
        raise ValueError("--num is missing: how many fakes shall the generator make?")
    made_by |= {
        "checkpoint": str(checkpoints[0].resolve()),
        "checkpoint_sha256": sha256_of(checkpoints[0]),
    }
    fakes = Fakes(nets[0], like, splits[0], seed)
    return _write_fakes(fakes, out, made_by, num, splits[0], source or "dfd-gan", method or "fastgan")


def _by_kind(nets: Sequence[Any], checkpoints: Sequence[Path]) -> dict[str, Autoencoder]:
    """Autoencoders by their kinds, which name their pictures."""
    kinds: dict[str, Autoencoder] = {}
    for net, path in zip(nets, checkpoints, strict=True):
        if not isinstance(net, Autoencoder):
            raise ValueError(
                f"{path} holds a {type(net).__name__}, and others an Autoencoder: they take a command each."
            )
        if net.kind in kinds:
            raise ValueError(f"{path} is the second {net.kind} decoder: they take a command each.")
        kinds[net.kind] = net
    return kinds


def _write_reconstructions(
    made: Reconstructions, out: Path, made_by: dict[str, Any], source: str, method: str
) -> str:
    num = 0
    with progress(len(made.reals), "reconstructing") as advance:

        def samples() -> Iterator[NewSample]:
            nonlocal num
            for of_one_real in made.samples(source, method):
                yield from of_one_real
                num += len(of_one_real)
                advance(1)

        write_samples(samples(), out, made_by)
    passed = f" ({made.passed_over} of no JPEG that can be imitated left out)" if made.passed_over else ""
    kinds = ", ".join(made.nets)
    return (
        f"{num} reconstructions ({kinds}) of the {len(made.reals)} reals of {made.reals.like}{passed}: {out}"
    )


def _write_fakes(
    fakes: Fakes, out: Path, made_by: dict[str, Any], num: int, split: str, source: str, method: str
) -> str:
    with progress(num, "generating") as advance:

        def samples() -> Iterator[NewSample]:
            for index in range(num):
                yield NewSample(f"{source}-{index:06d}", fakes[index], FAKE, split, source, method)
                advance(1)

        write_samples(samples(), out, made_by)
    made = f"{num} fakes ({source}, {method}) in the {split} split"
    return f"{made}, written like the {len(fakes.reals)} reals of {fakes.reals.like}: {out}"


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
