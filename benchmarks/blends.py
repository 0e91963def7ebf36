"""What `dfd.augment.FaceBlend` costs and changes, on real pictures of shards with landmarks, on one core.

Milliseconds of CPU a blend, a picture loaded alone, and a picture of a pair, whose real it shares decoding
with; gray levels that a blend changes inside its mask, weak and strong; with --mesh milliseconds a picture of
finding landmarks; with --sheet a PNG of reals, blends and masks. Rounds take turns; each figure is the median
of the rounds' means.

    dfd landmarks shards/140k --mesh face_landmark.tflite
    python benchmarks/blends.py shards/140k --sheet blends.png
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from dfd.augment import Augment, FaceBlend
from dfd.batch import FAKE, REAL, Sample
from dfd.data import ShardDataModule, View
from dfd.media.mean_face import mean_face
from dfd.prepare.landmarks import LandmarkFinder
from dfd.synthetic import make_toy

VIEW = View(size=192, longest=256, resize=True)


def milliseconds(run: Callable[[], int]) -> float:
    """CPU of one of what `run` does, which says how many they were."""
    start = time.process_time()
    num = run()
    return 1e3 * (time.process_time() - start) / max(num, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("roots", nargs="*", help="shards with landmarks; by default drawings, at a mean face")
    parser.add_argument("--num", type=int, default=300, help="pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mesh", type=Path, help="MediaPipe's face_landmark.tflite, to time it as well")
    parser.add_argument("--faces", type=Path, help="YuNet's .onnx file")
    parser.add_argument("--sheet", type=Path, help="a PNG of 24 blends to look at")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    roots = arguments.roots or [str(toy(arguments.num))]
    modules = {
        name: ShardDataModule(
            roots,
            VIEW,
            batch_size=8,
            num_workers=0,
            fakes=pairs is None,
            pairs=pairs,
            augment=Augment("delivery", p=0.75),
        )
        for name, pairs in (("alone", None), ("pair", FaceBlend(landmarks=bool(arguments.roots))))
    }
    for module in modules.values():
        module.setup("fit")
    samples = reals(modules["pair"], arguments.num)
    timed: dict[str, Callable[[], int]] = {
        "a picture loaded alone": lambda: shown(modules["alone"], arguments.num),
        "a picture of a pair": lambda: shown(modules["pair"], arguments.num),
        "a weak blend": lambda: len([FaceBlend(weak=1)(each, drawn(n)) for n, each in enumerate(samples)]),
        "a strong blend": lambda: len([FaceBlend(weak=0)(each, drawn(n)) for n, each in enumerate(samples)]),
    }
    if arguments.mesh is not None:
        finder = LandmarkFinder(arguments.mesh, arguments.faces)
        timed["finding landmarks"] = lambda: len([finder.find(each["image"]) for each in samples])
    rounds = [{name: milliseconds(run) for name, run in timed.items()} for _ in range(arguments.rounds)]
    table = Table("", "ms of CPU", title=f"{len(samples)} pictures, {arguments.rounds} rounds")
    for name in timed:
        table.add_row(name, f"{statistics.median(each[name] for each in rounds):.2f}")
    Console().print(table, changed(samples))
    if arguments.sheet is not None:
        cv2.imwrite(str(arguments.sheet), cv2.cvtColor(sheet(samples), cv2.COLOR_RGB2BGR))


def toy(num: int) -> Path:
    folder = Path("blends-toy")
    make_toy(folder, num_images=max(num, 60), size=160, seed=0)
    return folder


def drawn(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def reals(data: ShardDataModule, num: int) -> list[Sample]:
    """Real training pictures with the landmarks of their shards, or the mean face's."""
    dataset, pairing = data.train_dataloader().dataset, data._pairing
    found = []
    for row in drawn(0).permutation(data.rows("train")).tolist():
        sample = pairing.given(dataset._loaded(row, 0), drawn(row), lambda row: {})
        if sample is not None:
            margin = data.view.margin
            found.append({"landmarks": mean_face(sample["image"].shape, margin), **sample})
        if len(found) == num:
            break
    return found


def shown(data: ShardDataModule, num: int) -> int:
    """Pictures that batches of an epoch show, at least `num`."""
    pictures = 0
    for batch in data.train_dataloader():
        pictures += len(batch["row"])
        if pictures >= num:
            break
    return pictures


def changed(samples: list[Sample]) -> Table:
    levels = (5, 25, 50, 75, 95)
    table = Table("blends", *(f"{level}%" for level in levels), "returned as they were")
    table.title = "gray levels of mean change inside the mask"
    for name, weak in (("weak", 1.0), ("strong", 0.0)):
        change = []
        for number, sample in enumerate(samples):
            made = FaceBlend(weak=weak)(sample, drawn(number))
            if made["label"] == FAKE:
                difference = np.abs(made["image"].astype(int) - sample["image"])
                change.append(difference[made["mask"] > 0].mean())
        shares = [f"{value:.1f}" for value in np.percentile(change, levels)]
        table.add_row(name, *shares, f"{1 - len(change) / len(samples):.1%}")
    return table


def sheet(samples: list[Sample], side: int = 224) -> np.ndarray:
    """Rows of reals, blends and masks; the left half is weak."""
    rows = []
    for start in range(0, min(len(samples), 24), 8):
        columns = []
        for place, sample in enumerate(samples[start : start + 8]):
            made = FaceBlend(weak=float(place < 4))(sample, drawn(start + place))
            mask = made["mask"] if made["label"] != REAL else np.zeros_like(made["image"][..., 0])
            parts = (sample["image"], made["image"], cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB))
            columns.append(np.vstack([cv2.resize(part, (side, side)) for part in parts]))
        rows.append(np.hstack(columns))
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


if __name__ == "__main__":
    main()
