"""Reconstructions of every real of some roots by nine kinds of decoders, and what is left of the real in them.

Trains each kind on the reals of all roots by `dfd fit --config reconstruct`; writes the reconstructions of
the training split by all kinds but the held-out one, and those of val by that one, into
OUT/ROOT-SPLIT; prints for each kind PSNR on the reals of val, and its power beside the reals': in
bands of frequency, and on the lattice that doubling leaves. What is done is not done again.

    python benchmarks/reconstructions.py shards/140k shards/dagnelies --held shuffle4 --out remade
"""

import argparse
from pathlib import Path

import numpy as np

from dfd.cli import main as dfd
from dfd.detector import load_net
from dfd.forensics.spectrum.power import azimuthal_profile, power_spectrum, whole_plane
from dfd.inference.reconstruct import reconstructed
from dfd.inference.written_like import Reals
from dfd.media.decode import decode

KINDS = {
    f"{decoder}{stride}": (decoder, stride, 0)
    for stride in (4, 8)
    for decoder in ("nearest", "bilinear", "transposed", "shuffle")
} | {"nearest4-vq": ("nearest", 4, 512)}
SIDE = 128  # of the windows of a spectrum, in pixels
BANDS = {".05-.15": (6, 19), ".15-.25": (19, 32), ".25-.35": (32, 45), ".35-.5": (45, 64)}  # cycles a pixel
# cycles a pixel, down and across
LATTICE = {
    "1/2": [(0.5, 0), (0, 0.5), (0.5, 0.5)],
    "1/4": [(0.25, 0), (0, 0.25)],
    "1/8": [(0.125, 0), (0, 0.125)],
}
MEASURED = 60  # reals of val


def run(*words: object) -> None:
    print("$ dfd", *words, flush=True)
    if dfd([str(word) for word in words]):
        raise SystemExit(f"dfd {words[0]} failed.")


def train(kind: str, roots: list[Path], out: Path, epochs: int, precision: str) -> Path:
    """The kind's checkpoint."""
    folder = out / "nets" / kind
    decoder, stride, codebook = KINDS[kind]
    if not (folder / "done").is_file():
        weights = ", ".join(f"{root.resolve()}: 1" for root in roots)
        run(
            "fit", "--config", "reconstruct", "--data", "data/140k.yaml", f"--data.roots={{{weights}}}",
            "--data.augment=null", "--data.val_augment=null", "--data.view.size=64", "--data.view.crops=1",
            "--data.view.longest=null", "--data.batch_size=16", "--data.num_workers=0",
            f"--model.net.decoder={decoder}", f"--model.net.stride={stride}", f"--model.net.codebook={codebook}",
            f"--trainer.max_epochs={epochs}", f"--trainer.precision={precision}",
            "--trainer.enable_progress_bar=false", "--run_folder", folder,
        )  # fmt: skip
        (folder / "done").touch()
    return folder / "checkpoints" / "last.ckpt"


def write(checkpoints: list[Path], root: Path, split: str, out: Path, seed: int) -> None:
    folder = out / f"{root.name}-{split}"
    if not folder.exists():
        run("generate", *checkpoints, "--like", root, "--splits", split, "--seed", seed, "--out", folder)


def lattice_peak(power: np.ndarray, places: list[tuple[float, float]]) -> float:
    """How far the points of a lattice stand out of their neighbourhood, in dB: their strongest."""
    found = []
    for place in places:
        shift = [-round(each * SIDE) for each in place]
        centred = np.roll(whole_plane(power), shift, (0, 1))
        around = centred[SIDE // 2 - 6 : SIDE // 2 + 7, SIDE // 2 - 6 : SIDE // 2 + 7]
        found.append(10 * np.log10(around[5:8, 5:8].max() / np.median(around)))
    return max(found)


def table(checkpoints: dict[str, Path], root: Path) -> None:
    reals = Reals(root, ["val"])
    pictures = [decode(reals.read(at)) for at in range(min(MEASURED, len(reals)))]
    real = np.mean([power_spectrum(picture, SIDE) for picture in pictures], axis=0)
    print(
        f"\n{root.name}, {len(pictures)} reals of val, dB beside the reals (bands), and above the neighbourhood"
    )
    print("| kind | PSNR |", " | ".join([*BANDS, *(f"peak {name}" for name in LATTICE)]), "|")
    print("|---|" + "---|" * (1 + len(BANDS) + len(LATTICE)))
    print(
        "| real | |",
        " | ".join(["0.0"] * len(BANDS) + [f"{lattice_peak(real, at):.1f}" for at in LATTICE.values()]),
        "|",
    )
    for kind, path in checkpoints.items():
        net, _ = load_net(path, role="generator")
        made = [reconstructed(net, picture).clip(0, 255).round().astype(np.uint8) for picture in pictures]
        power = np.mean([power_spectrum(picture, SIDE) for picture in made], axis=0)
        ratio = azimuthal_profile(power) / azimuthal_profile(real)
        bands = [10 * np.log10(ratio[low:high].mean()) for low, high in BANDS.values()]
        cells = [f"{value:+.1f}" for value in bands] + [
            f"{lattice_peak(power, at):.1f}" for at in LATTICE.values()
        ]
        print(
            f"| {kind} | {np.mean(list(map(psnr, made, pictures))):.1f} |", " | ".join(cells), "|", flush=True
        )


def psnr(made: np.ndarray, real: np.ndarray) -> float:
    """In dB, of pictures (H, W, 3) uint8."""
    return -10 * np.log10(((made.astype(float) - real) ** 2).mean() / 255**2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("roots", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--held", choices=KINDS, default="shuffle4", help="decoder that val alone shows")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    nets = {kind: train(kind, given.roots, given.out, given.epochs, given.precision) for kind in given.kinds}
    for each in given.roots:
        write(
            [path for kind, path in nets.items() if kind != given.held], each, "train", given.out, given.seed
        )
        if given.held in nets:
            write([nets[given.held]], each, "val", given.out, given.seed)
    table(nets, given.roots[0])
