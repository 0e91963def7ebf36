"""Autoencoder: pictures through a narrow code and back, by a decoder whose up-sampling can be chosen.

A reconstruction shows the real picture and carries the traces of the decoder that drew it, nothing else:
what a detector learns from the pair is the decoder. The traces differ with the last layers (Durall et al.,
CVPR 2020, 2003.01826), so that several kinds are needed (2601.20461).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dfd.models.net import Net

DECODERS = ("nearest", "bilinear", "transposed", "shuffle")
STRIDES = (4, 8)
CODE = 4  # values of a vector that the codebook replaces
# after van den Oord et al.: how slowly a code follows its vectors, and the weight of what pulls those to it
DECAY, COMMITMENT = 0.99, 0.25
AT_ONCE = 1 << 16  # vectors that are compared with all codes: a large photograph has millions
DEAD = 0.01  # of the uses that a code has on average: with fewer it begins anew at a vector of the batch


class Autoencoder(Net):
    """Pictures (B, 3, H, W) in [0, 1] of any size -> their reconstructions, of the same shape and range.

    Every doubling of the side in the decoder, and so its last layer, is of one kind:

    - nearest: each value four times, then a 3 x 3 convolution;
    - bilinear: interpolated, then a 3 x 3 convolution;
    - transposed: a 4 x 4 transposed convolution of stride 2;
    - shuffle: a 3 x 3 convolution to four times the channels, which become 2 x 2 pixels (Shi et al.,
      1609.05158).

    Args:
        decoder: nearest, bilinear, transposed or shuffle.
        stride: pixels of the picture to a place of the code, along a side: 4 or 8.
        width: channels at half the side; each further halving doubles them.
        latent: channels of the code; None takes `stride * stride / 2`, a sixth of the picture's values.
        codebook: number of vectors of four channels that a code is put together from, 0 for none: VQ-VAE
            (van den Oord et al., 1711.00937), its codes moving averages of what they stand for.
    """

    role = "generator"

    def __init__(
        self,
        decoder: str = "nearest",
        stride: int = 4,
        width: int = 24,
        latent: int | None = None,
        codebook: int = 0,
    ):
        super().__init__()
        latent = stride * stride // 2 if latent is None else latent
        _check(decoder, stride, width, latent, codebook)
        self.stride = stride
        self.kind = f"{decoder}{stride}" + ("-vq" if codebook else "")
        # channels at half, a quarter and, of stride 8, an eighth of the side
        widths = [width << level for level in range(stride.bit_length() - 1)]
        deepest = widths[-1]
        # a quarter of the side at once: most of the work is done where pixels are few
        encoder: list[nn.Module] = [nn.Conv2d(3, widths[1], 4, stride=4), _Residual(widths[1])]
        if stride == 8:
            encoder += [nn.Conv2d(widths[1], deepest, 2, stride=2), _Residual(deepest)]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(deepest, latent, 1))
        self.codes = _Codebook(codebook) if codebook else None
        first = nn.Conv2d(latent, deepest, 3, padding=1)
        self.start = nn.Sequential(first, _Residual(deepest), _Residual(deepest))
        ups = []
        for wide, narrow in pairwise(reversed(widths)):
            ups += [_up(decoder, wide, narrow), _Residual(narrow) if narrow > width else nn.GELU()]
        self.ups = nn.Sequential(*ups)
        self.last = _up(decoder, width, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.reconstruct(image)[0]

    def reconstruct(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstructions, and what a training adds to its loss: how far codes are from the codebook."""
        height, width = image.shape[2:]
        # edges are repeated up to a multiple of the stride, and cut off again
        padded = pad(image, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        code = self.encoder(padded * 2 - 1)
        far = code.new_zeros(())
        if self.codes is not None:
            code, far = self.codes(code)
        drawn = self.last(self.ups(self.start(code)))[:, :, :height, :width]
        # in training beyond [0, 1] too, where a clipped value would have no gradient
        drawn = drawn.float() / 2 + 0.5
        return (drawn if self.training else drawn.clamp(0, 1)), far


class _Residual(nn.Module):
    """(B, C, H, W) -> the same; without normalization, by which a place of a picture would change others."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.body(maps)


class _Codebook(nn.Module):
    """Replaces each four channels of a code (B, C, H, W) by the nearest of `num` vectors; the gradient passes
    as if it had not.

    The vectors are moving averages of what they replaced (1711.00937, appendix A.1), and those that are
    hardly used begin anew, so that all of them take part.
    """

    def __init__(self, num: int):
        super().__init__()
        vectors = torch.randn(num, CODE)
        self.register_buffer("vectors", vectors)
        self.register_buffer("sums", vectors.clone())
        self.register_buffer("uses", torch.ones(num))

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        given = code.float().unflatten(1, (-1, CODE)).movedim(2, -1)  # (B, C / 4, H, W, 4)
        flat = given.reshape(-1, CODE)
        index = torch.cat([self._nearest(part) for part in flat.split(AT_ONCE)])
        taken = self.vectors[index].view_as(given)
        far = COMMITMENT * (given - taken).square().mean()
        if self.training:
            self._follow(flat.detach(), index)
        taken = given + (taken - given).detach()
        return taken.movedim(-1, 2).flatten(1, 2).to(code.dtype), far

    def _nearest(self, flat: Tensor) -> Tensor:
        """(P, 4) -> which vector is the nearest to each (P,)."""
        # squared distances but for the length of `flat`, which is the same for all vectors
        return (self.vectors.square().sum(1) - 2 * flat @ self.vectors.T).argmin(1)

    @torch.no_grad()
    def _follow(self, flat: Tensor, index: Tensor) -> None:
        uses = torch.zeros_like(self.uses).index_add_(0, index, torch.ones_like(flat[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, index, flat)
        self.uses.lerp_(uses, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        dead = self.uses < DEAD * self.uses.mean()
        fresh = flat[torch.randint(len(flat), (len(dead),), device=flat.device)]
        self.uses.copy_(torch.where(dead, self.uses.mean(), self.uses))
        self.sums.copy_(torch.where(dead[:, None], fresh * self.uses[:, None], self.sums))
        self.vectors.copy_(self.sums / self.uses[:, None])


def _up(decoder: str, wide: int, narrow: int) -> nn.Sequential:
    """Twice the side: (B, wide, H, W) -> (B, narrow, 2H, 2W)."""
    match decoder:
        case "nearest":
            return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(wide, narrow, 3, padding=1))
        case "bilinear":
            double = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            return nn.Sequential(double, nn.Conv2d(wide, narrow, 3, padding=1))
        case "transposed":
            return nn.Sequential(nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1))
        case _:
            return nn.Sequential(nn.Conv2d(wide, 4 * narrow, 3, padding=1), nn.PixelShuffle(2))


def _check(decoder: str, stride: int, width: int, latent: int, codebook: int) -> None:
    if decoder not in DECODERS:
        raise ValueError(f"decoder={decoder!r} is not known. Use one of {', '.join(DECODERS)}.")
    if stride not in STRIDES:
        raise ValueError(f"stride={stride}: a decoder doubles the side two or three times. Use 4 or 8.")
    if width < 1 or latent < 1:
        raise ValueError(f"width={width}, latent={latent}: it takes at least one channel. Use 24 and 8.")
    if codebook < 0 or codebook == 1:
        raise ValueError(f"codebook={codebook}: it takes two vectors or more, 512 say, or 0 for no codebook.")
    if codebook and latent % CODE:
        raise ValueError(
            f"latent={latent}: a codebook's vectors have {CODE} channels. Use a multiple, 8 say."
        )
