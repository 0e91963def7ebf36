"""What an export to ONNX or OpenVINO costs and gives: start to the first verdict, logits a second, and the size
of what has to be installed.

Exports a checkpoint to both, and to ONNX in 8 bits, and times on one core, in turns within one run: `dfd score` of one
picture by the checkpoint and by each export, as a whole process; and the net alone on one picture's crops.

    python benchmarks/onnx_use.py best.ckpt photo.jpg --shards shards/140k
    python benchmarks/onnx_use.py best.ckpt photo.jpg --install      # also makes an environment, and weighs it

Promised: the first verdict within 1.5 s on one core, and core, onnx and serve in under 700 MB.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def score(detector: Path, picture: Path) -> float:
    """Seconds from the start of the process to its end."""
    start = time.perf_counter()
    words = [sys.executable, "-m", "dfd.cli", "score", str(detector), str(picture), "--whole"]
    subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def ratio(values: list[float], others: list[float]) -> str:
    """Median of the ratios of each turn, with the lowest and the highest."""
    ratios = sorted(value / other for value, other in zip(values, others, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def whole(files: dict[str, Path], picture: Path, rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(rounds + 1):
        for name, file in files.items():
            seconds = score(file, picture)
            if turn:  # the first one warms the file cache
                times[name].append(seconds)
    for name, values in times.items():
        beside = ratio(values, times["checkpoint"])
        print(f"first verdict, {name}: {statistics.median(values):.2f} s, {beside} of the checkpoint's")


def net(files: dict[str, Path], picture: Path, rounds: int, pictures: int = 20) -> None:
    import numpy as np
    import torch

    import dfd

    torch.set_num_threads(1)
    detectors = {name: dfd.load(file) for name, file in files.items()}
    crops = {}
    for name, detector in detectors.items():
        (face,) = detector.crop_faces(picture, whole=True)
        assert face.crops is not None, face.score.reason
        crops[name] = np.ascontiguousarray(face.crops)
    times: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(rounds + 1):
        for name, detector in detectors.items():
            start = time.process_time()
            for _ in range(pictures):
                detector.logits([crops[name]])
            if turn:
                times[name].append((time.process_time() - start) / pictures)
    for name, values in times.items():
        beside, of_onnx = (ratio(values, times[other]) for other in ("checkpoint", "onnx"))
        print(
            f"logit of {len(crops[name])} crops, {name}: {statistics.median(values) * 1000:.1f} ms, "
            f"{beside} of the checkpoint's, {of_onnx} of ONNX"
        )


def installed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin/python")
        for extras in ("onnx", "openvino", "onnx,serve"):
            what = [f"{REPOSITORY}[{extras}]", "-c", str(REPOSITORY / "constraints.txt")]
            subprocess.run([python, "-m", "pip", "install", "--quiet", *what], check=True)
            size = sum(file.lstat().st_size for file in Path(folder).rglob("*") if file.is_file())
            print(f"an environment with dfd[{extras}]: {size / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("picture", type=Path, help="that the detector can judge with --whole")
    parser.add_argument("--shards", type=Path, help="that trained it: export in 8 bits too")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--install", action="store_true", help="weigh a new environment")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from dfd.inference.export import export

    with tempfile.TemporaryDirectory() as folder:
        files = {"checkpoint": args.checkpoint}
        for name, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
            files[name] = Path(folder, f"net{suffix}")
            print(export(args.checkpoint, files[name]))
        if args.shards is not None:
            files["onnx in 8 bits"] = Path(folder, "int8.onnx")
            print(export(args.checkpoint, files["onnx in 8 bits"], int8=args.shards))
        whole(files, args.picture, args.rounds)
        net(files, args.picture, args.rounds)
    if args.install:
        installed()


if __name__ == "__main__":
    main()
