"""Reconstructions: an autoencoder's picture of each real, in the real's own size and JPEG settings.

Such a fake differs from its real in what the decoder did to it, and in nothing that a file says (aligned
pairs: 2505.14359).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import cv2
import numpy as np
import torch

from dfd.batch import FAKE
from dfd.forensics.imitate import JpegStyle
from dfd.inference.written_like import Reals
from dfd.media.decode import Undecodable, plain_jpeg, stored_pixels
from dfd.models import Autoencoder
from dfd.shards.samples import NewSample

FINE = 1.0  # pixels: sigma of the blur whose remainder counts as detail


class Reconstructions:
    """What several autoencoders make of each real, one `NewSample` each.

    A small autoencoder loses fine detail (13 to 25 dB of it above .35 cycles a pixel, at 29 to 31 dB PSNR),
    and a detector would learn blur instead of up-sampling. So part of what it lost is given back, at the
    price that the decoder's own fine detail is weaker by that part.

    Args:
        nets: by their names, on the CPU, in evaluation mode.
        reals: in the splits that are wanted.
        detail: least and largest share of the lost detail that is given back, drawn for each picture.
        seed: of these shares, with the name of the net and the real's file.
    """

    def __init__(
        self,
        nets: Mapping[str, Autoencoder],
        reals: Reals,
        detail: tuple[float, float] = (0.2, 0.8),
        seed: int = 0,
    ):
        if len(detail) != 2 or not 0 <= detail[0] <= detail[1] <= 1:
            raise ValueError(
                f"--detail {' '.join(f'{each:g}' for each in detail)} is not a range of shares. Use least "
                "and largest, such as --detail 0.2 0.8."
            )
        self.nets, self.reals, self.detail, self.seed = nets, reals, detail, seed
        self.passed_over = 0  # reals that are no JPEGs which can be imitated

    def samples(self, source: str = "", method: str = "") -> Iterator[list[NewSample]]:
        """The reconstructions of one real after the other: one by each net, none of those passed over.

        Args:
            source: what the table calls theirs; "" for the source of each real.
            method: how it says that they were made; "" for reconstruction-KIND.
        """
        seen = set()
        for at, line in enumerate(self.reals.lines):
            made = []
            if line["sha256"] not in seen:  # the same file twice has one reconstruction
                seen.add(line["sha256"])
                made = [
                    NewSample(
                        key=f"{kind}/{line['sha256'][:20]}",
                        image_bytes=data,
                        label=FAKE,
                        split=line["split"],
                        source=source or line["source"],
                        method=method or f"reconstruction-{kind}",
                        groups=(*line["groups"], f"of:{line['sha256']}"),
                        family=line["family"],
                    )
                    for kind, data in self._files(at).items()
                ]
                self.passed_over += not made
            yield made

    def _files(self, at: int) -> dict[str, bytes]:
        """A JPEG by each net; empty where the real cannot be imitated."""
        data, sha256 = self.reals.read(at), self.reals.lines[at]["sha256"]
        style = JpegStyle.of(data)
        if style is None:
            return {}
        try:
            real = stored_pixels(plain_jpeg(data))  # its profile goes with the metadata
        except Undecodable:
            return {}
        files = {}
        for kind, net in self.nets.items():
            name = hashlib.sha256(f"{kind} {sha256}".encode()).digest()
            rng = np.random.default_rng((self.seed, int.from_bytes(name[:8], "big")))
            made = with_detail(reconstructed(net, real), real, rng.uniform(*self.detail))
            files[kind] = style.encode(made)
        return files


@torch.inference_mode()
def reconstructed(net: Autoencoder, real: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 in grey levels, of a picture (H, W, 3) uint8; one at a time, since those beside it in
    a batch would change its last digits.
    """
    image = (
        torch.from_numpy(real)[None].movedim(-1, 1).float().div(255)
    )  # channels-last, as convolutions like
    return net(image)[0].permute(1, 2, 0).mul(255).numpy()


def with_detail(made: np.ndarray, real: np.ndarray, share: float) -> np.ndarray:
    """(H, W, 3) uint8: a reconstruction whose fine detail is, by so much of it, the real's."""
    lost = real.astype(np.float32) - made
    fine = lost - cv2.GaussianBlur(lost, (0, 0), FINE)
    return (made + np.float32(share) * fine).clip(0, 255).round().astype(np.uint8)
