"""Whether the shards of `dfd generate` can be told from the reals that they were written like without looking
at a face.

The reals of the training split and as many of the fakes go into one set of shards, which the audit is asked
about. With --weights, it also says how far the fakes are from half of the reals as that backbone sees both,
and how far the other half is.

    python benchmarks/fakes.py shards/140k fakes
    python benchmarks/fakes.py shards/140k fakes --weights mobilenetv2_100.safetensors --size 64
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console

from dfd.audit.pictures import read_pictures
from dfd.audit.shortcuts import ask, color_facts, file_facts
from dfd.batch import FAKE, LABELS, REAL
from dfd.callbacks.frechet import frechet_distance
from dfd.data import View
from dfd.media.decode import decode
from dfd.models import TimmBackbone
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table, read_bytes


def files(root: Path, label: int) -> Iterator[tuple[bytes, str]]:
    """Bytes and family of a root's pictures of one class in the training split."""
    for line in load_table(root).to_pylist():
        if line["label"] == label and line["split"] == "train":
            yield read_bytes(root, line), line["family"]


def shortcuts(reals: list[tuple[bytes, str]], fakes: list[tuple[bytes, str]]) -> Iterator[str]:
    with TemporaryDirectory() as folder:
        both = Path(folder) / "both"
        samples = (
            NewSample(f"{LABELS[label]}-{at}", data, label, "train", "both", groups=(f"{label}-{family}",))
            for label, side in enumerate((reals, fakes))
            for at, (data, family) in enumerate(side)
        )
        write_samples(samples, both, {"command": "benchmark"})
        table = load_table(both)
        pictures = read_pictures(both, table, 1, lambda count: None)
    label, family = table["label"].to_numpy(), table["family"].to_numpy(zero_copy_only=False).astype(str)
    for name, facts in (
        ("File facts", file_facts(table, pictures)),
        ("Colour and brightness", color_facts(pictures)),
    ):
        yield str(ask(name, facts, label, family))


def distances(
    reals: list[tuple[bytes, str]], fakes: list[tuple[bytes, str]], backbone: str, weights: str, size: int
) -> str:
    net, view = TimmBackbone(backbone, weights).eval(), View(size, longest=None, resize=True)

    def features(side: list[tuple[bytes, str]]) -> np.ndarray:
        found = []
        with torch.inference_mode():
            for at in range(0, len(side), 50):
                image = np.concatenate([view.eval_crops(decode(data)) for data, _ in side[at : at + 50]])
                found.append(net(torch.from_numpy(image).movedim(-1, -3).float().div_(255)))
        return torch.cat(found).double().numpy()

    half = len(reals) // 2
    real, fake = features(reals), features(fakes[:half])
    far, floor = frechet_distance(real[:half], fake), frechet_distance(real[:half], real[half:])
    return f"Frechet distance of {backbone} at {size} px, {half} pictures a side: {far:.1f}; reals from other reals {floor:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path)
    parser.add_argument("fakes", type=Path)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    reals, fakes = list(files(given.shards, REAL)), list(files(given.fakes, FAKE))
    num = min(len(reals), len(fakes))
    reals, fakes = (
        [side[at] for at in np.random.default_rng(0).permutation(len(side))[:num]] for side in (reals, fakes)
    )
    console = Console(markup=False, highlight=False)
    for line in shortcuts(reals, fakes):
        console.print(line)
    if given.weights:
        console.print(distances(reals, fakes, given.backbone, given.weights, given.size))


if __name__ == "__main__":
    main()
