"""Frequency fingerprints: fakes made of real images by sending them through an untrained up-sampling decoder.

Generators draw by up-sampling, which leaves copies of the low frequencies around multiples of 1/2, 1/4, 1/8
of the sampling rate: checkerboards and grids (Durall et al., CVPR 2020, 2003.01826; Wang et al., CVPR 2020,
1912.11035). The kernels differ from one generator to the next; here they are drawn for each image, as
FingerprintNet (Jeong et al., ECCV 2022) does, so that a net does not learn a single generator's.
"""

import cv2
import numpy as np

from dfd.batch import FAKE, REAL, Sample

# rows of separable kernels for a transposed convolution of stride 2; their sum of 2 makes up for the zeros
# between the pixels
NEAREST = np.array([0, 1, 1, 0], np.float32)
LINEAR = np.array([0.25, 0.75, 0.75, 0.25], np.float32)


class Fingerprint:
    """A transform that gives a share of the real images traces of up-sampling: FAKE, `mask` 255 all over.

    Each of one to three levels halves the picture and doubles it again, by zeros between its pixels and a
    random kernel; what the halving lost is put back, or most of it. So the content stays (30 to 50 dB PSNR on
    faces of 256 px) and the traces are as subtle as a good generator's. Fakes pass as they are, and so does
    a picture of a few pixels in which rounding leaves no trace.

    It belongs before the transforms that degrade, `augment: [Fingerprint, Augment]`, so that the traces are
    degraded with their image, and in training alone: evaluation refuses it.

    Args:
        p: share of the real pictures that become fakes. The classes' numbers shift with it: `class_weight:
            balanced` counts them as they are shown, and a set of real pictures alone can be trained on.
        strength: lowest and highest standard deviation of a kernel's weights, as a share of them: at .02 the
            finest checkerboard is one or two levels of 255 deep.
    """

    def __init__(self, p: float = 0.5, strength: tuple[float, float] = (0.003, 0.03)):
        if not 0 <= p <= 1:
            raise ValueError(f"p={p} is not a probability. Use a number from 0 to 1.")
        if len(strength) != 2 or not 0 < strength[0] <= strength[1] <= 1:
            raise ValueError(
                f"strength={strength} is not a range of shares. Use lowest and highest, such as (.003, .03)."
            )
        self.p = self.fake_share = p
        self.strength = strength

    def __repr__(self) -> str:
        return f"Fingerprint(p={self.p:g})"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample["label"] != REAL or rng.random() >= self.p:
            return sample
        image = sample["image"]
        kernels, gain = self._kernels(int(rng.integers(1, 4)), rng), rng.uniform(0.8, 1.0)
        height, width = image.shape[:2]
        step = 2 ** len(kernels)
        # a border of `step` keeps the grid in the picture's corner, and its edges free of what a kernel makes
        # of an end
        border = step, step + -height % step, step, step + -width % step
        planes = cv2.split(cv2.copyMakeBorder(image, *border, cv2.BORDER_REFLECT).astype(np.float32))
        decoded = [
            _decoded(plane, [kernel[colour] for kernel in kernels], gain)
            for colour, plane in enumerate(planes)
        ]
        decoded = cv2.merge(decoded)[step : step + height, step : step + width]
        forged = np.clip(np.rint(decoded), 0, 255).astype(np.uint8)
        if np.array_equal(forged, image):  # a few pixels, all rounded back
            return sample
        return {**sample, "image": forged, "label": FAKE, "mask": np.full((height, width), 255, np.uint8)}

    def _kernels(self, levels: int, rng: np.random.Generator) -> list[np.ndarray]:
        """One (3, 4, 4) float32 a level, the finest first: between bilinear and nearest, plus noise."""
        kernels = []
        for _ in range(levels):
            mix, sigma = rng.random() ** 2, np.exp(rng.uniform(*np.log(self.strength)))
            row = (1 - mix) * LINEAR + mix * NEAREST
            # the colours come from the same features, so their kernels resemble one another
            error = rng.standard_normal((1, 4, 4), np.float32) + 0.5 * rng.standard_normal(
                (3, 4, 4), np.float32
            )
            kernels.append((np.outer(row, row) * (1 + sigma * error)).astype(np.float32))
        return kernels


def _decoded(plane: np.ndarray, kernels: list[np.ndarray], gain: float) -> np.ndarray:
    """A plane (H, W) float32, halved and doubled by `kernels[0]`, its half by the others.

    `gain` times the detail that the halving lost is added again.
    """
    height, width = plane.shape
    half = cv2.resize(plane, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    detail = plane - cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR)
    if kernels[1:]:
        half = _decoded(half, kernels[1:], gain)
    spread = np.zeros_like(plane)
    spread[::2, ::2] = half
    # a pixel of the half is the middle of four: half a pixel right of and below the place where it stands
    # among the zeros
    return cv2.filter2D(spread, -1, kernels[0], anchor=(2, 2)) + np.float32(gain) * detail
