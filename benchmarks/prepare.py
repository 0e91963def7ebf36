"""Images/s of `dfd prepare` and `dfd audit` on 256 px JPEGs, how they grow, and what memory they take.

The yardstick is a copy of the same files with their SHA-256, in as many processes. Every figure is of a whole command in a
process of its own, start included, on files that were read before; rounds take turns. Memory is the largest resident size of
any one process. The JPEGs are crops, turned and encoded anew, of pictures in --pictures, or of the toy set.

    python benchmarks/prepare.py
    python benchmarks/prepare.py --pictures real_vs_fake/real-vs-fake --counts 2500 10000
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

TARGETS = {"half of copying": 0.5, "two processes": 1.7}


def draw(task: tuple[Path, list[Path], int, int]) -> None:
    """Files number `first`, `first + 2`, ... of a class-folder tree; each is another picture to any hash."""
    folder, sources, first, count = task
    cv2.setNumThreads(0)
    for number in range(first, count, 2):
        rng = np.random.default_rng(number)
        image = cv2.imread(str(sources[rng.integers(len(sources))]))
        side = min(image.shape[:2])
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-40, 40), rng.uniform(1.3, 2) * 256 / side)
        turn[:, 2] += 128 - side / 2 + rng.uniform(-30, 30, 2)
        turned = cv2.warpAffine(image, turn, (256, 256), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        path = folder / ("fake" if number % 4 > 1 else "real") / f"{number:06d}.jpg"
        cv2.imwrite(str(path), turned, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(85, 96))])


def copy(task: tuple[list[Path], Path]) -> None:
    files, out = task
    for file in files:
        data = file.read_bytes()
        hashlib.sha256(data).hexdigest()
        (out / file.name).write_bytes(data)


def timed(arguments: list[str]) -> tuple[float, float]:
    """Seconds and MB of a Python process and its children, in a process of its own."""
    code = (
        "import resource, subprocess, sys, time; start = time.time(); subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "print(time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, sys.executable, *arguments], check=True, capture_output=True, text=True)
    seconds, kilobytes = map(float, done.stdout.split())
    return seconds, kilobytes / 1024 * (1 / 1024 if sys.platform == "darwin" else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder with JPEGs to cut the files from; the toy set without")
    parser.add_argument("--counts", type=int, nargs="+", default=[2500, 10000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--audit", action="store_true", help="time dfd audit too")
    parser.add_argument("--copy", type=Path, nargs=3, help=argparse.SUPPRESS)  # source, out, processes: the yardstick itself
    args = parser.parse_args()
    if args.copy:
        source, out, processes = args.copy
        files = sorted(source.glob("*/*.jpg"))
        out.mkdir()
        shares = [(files[part :: int(str(processes))], out) for part in range(int(str(processes)))]
        if len(shares) == 1:
            copy(shares[0])
        else:
            with ProcessPoolExecutor(len(shares)) as pool:
                list(pool.map(copy, shares))
        return

    page = Table("images", "processes", "copy + sha256, images/s", "prepare, images/s", "ratio", "lowest-highest", "MB")
    audits = Table("images", "processes", "audit, images/s", "MB")
    alone: dict[int, float] = {}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        sources = pictures(args.pictures, root)
        for count in args.counts:
            source = root / f"source-{count}"
            for name in ("real", "fake"):
                (source / name).mkdir(parents=True)
            with ProcessPoolExecutor(2) as pool:
                list(pool.map(draw, [(source, sources, part, count) for part in range(2)]))
            for processes in (1, 2):
                copies, prepared, memory = [], [], []
                for _ in range(args.rounds):
                    seconds, _ = timed([__file__, "--copy", str(source), str(root / "copy"), str(processes)])
                    copies.append(count / seconds)
                    rmtree(root / "copy")
                    seconds, most = timed(
                        ["-m", "dfd.cli", "prepare", str(source), "--out", str(root / "shards"), f"--workers={processes}"]
                    )
                    prepared.append(count / seconds)
                    memory.append(most)
                    if args.audit and len(prepared) == args.rounds:
                        seconds, most = timed(
                            [
                                "-m",
                                "dfd.cli",
                                "audit",
                                str(root / "shards"),
                                "--out",
                                str(root / "audit"),
                                f"--workers={processes}",
                            ]
                        )
                        audits.add_row(f"{count}", f"{processes}", f"{count / seconds:.0f}", f"{most:.0f}")
                    rmtree(root / "shards")
                ratios = [ours / theirs for ours, theirs in zip(prepared, copies, strict=True)]
                page.add_row(
                    f"{count}", f"{processes}", f"{statistics.median(copies):.0f}", f"{statistics.median(prepared):.0f}",
                    f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}", f"{max(memory):.0f}",
                )  # fmt: skip
                alone.setdefault(count, statistics.median(prepared))
                if processes == 2:
                    speed_up = statistics.median(prepared) / alone[count]
                    page.add_row("", "", "", f"{speed_up:.2f} times one process", f"target {TARGETS['two processes']}", "", "")
            rmtree(source)
    console = Console(width=120)
    console.print(f"{os.cpu_count()} cores; target for the ratio {TARGETS['half of copying']}", page)
    if args.audit:
        console.print(audits)


def pictures(folder: Path | None, root: Path) -> list[Path]:
    """JPEG files to cut from."""
    if folder is not None:
        return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:2000]
    from dfd.data import ToyDataModule

    toy = ToyDataModule(num_workers=0)
    toy.prepare_data()
    toy.setup("fit")
    (root / "toy").mkdir()
    reader = toy.train_dataloader().dataset
    for row in toy.rows("train")[:1000]:
        (root / "toy" / f"{row}.jpg").write_bytes(reader.read(int(row)))
    return sorted((root / "toy").iterdir())


if __name__ == "__main__":
    main()
