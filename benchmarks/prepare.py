"""Images/s of `dfd prepare` and `dfd audit` on 256 px JPEGs, how they grow with the number of files, and what
memory they take.

The yardstick is the work that has to be done, in a plain loop of one process: reading a file, one full decode,
a SHA-256, a perceptual hash, writing its bytes. Every figure is of a whole command in a process of its own,
start included, on files that were read before; rounds take turns. The ratio is the yardstick's time over that of
`dfd prepare`, on as many cores as it has processes; a further image is what a large set costs nearly all of. CPU
seconds and memory are those of all its processes together: where others share the cores, seconds say little
and CPU seconds more. Memory is the highest of ten readings a second, a page that several processes share
counted once. Linux only. The JPEGs are crops, turned and encoded anew, of pictures in --pictures, or of the
toy set.

    python benchmarks/prepare.py
    python benchmarks/prepare.py --pictures real_vs_fake/real-vs-fake --counts 2500 10000
    python benchmarks/prepare.py --audit --counts 2500 5000 10000
"""

import argparse
import ctypes
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from rich.console import Console
from rich.table import Table

from dfd.media.perceptual_hash import perceptual_hash

TARGETS = {"necessary work": 0.8, "two processes": 1.7}
_SUBREAPER = 36  # prctl: the processes that a command leaves behind become ours to wait for


class Run(NamedTuple):
    seconds: float
    cpu: float  # seconds
    memory: float  # MB


def draw(task: tuple[Path, list[Path], int, int]) -> None:
    """Files number `first`, `first + 2`, ... of a class-folder tree; each is another picture to any hash."""
    folder, sources, first, count = task
    cv2.setNumThreads(0)
    for number in range(first, count, 2):
        rng = np.random.default_rng(number)
        image = cv2.imread(str(sources[rng.integers(len(sources))]))
        side = min(image.shape[:2])
        turn = cv2.getRotationMatrix2D(
            (side / 2, side / 2), rng.uniform(-40, 40), rng.uniform(1.3, 2) * 256 / side
        )
        turn[:, 2] += 128 - side / 2 + rng.uniform(-30, 30, 2)
        turned = cv2.warpAffine(image, turn, (256, 256), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        path = folder / ("fake" if number % 4 > 1 else "real") / f"{number:06d}.jpg"
        cv2.imwrite(str(path), turned, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(85, 96))])


def necessary(source: Path, out: Path) -> None:
    """The yardstick."""
    cv2.setNumThreads(0)
    out.mkdir()
    for file in sorted(source.glob("*/*.jpg")):
        data = file.read_bytes()
        pixels = simplejpeg.decode_jpeg(data)
        hashlib.sha256(data).hexdigest()
        perceptual_hash(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        (out / file.name).write_bytes(data)


def timed(arguments: Sequence[str]) -> Run:
    """A Python command, started and waited for, with whatever it starts."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = subprocess.Popen([sys.executable, *arguments], start_new_session=True, **silent)
    most = 0.0
    while command.poll() is None:
        most = max(most, sum(proportional(process) for process in of_session(command.pid)))
        with suppress(subprocess.TimeoutExpired):
            command.wait(0.1)
    seconds = time.monotonic() - start
    if command.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {command.returncode}")
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, most)


def of_session(leader: int) -> Iterator[Path]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "stat").read_text().rpartition(")")[2].split()[3] == str(leader):
                yield folder


def proportional(process: Path) -> float:
    """MB of a process; of pages that it shares, its part."""
    with suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pictures", type=Path, help="folder with JPEGs to cut the files from; the toy set without"
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[2500, 10000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--audit", action="store_true", help="time dfd audit, and prepare only once for it")
    # source, out: the yardstick itself
    parser.add_argument("--necessary", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.necessary:
        necessary(*args.necessary)
        return
    needed: dict[int, list[Run]] = {}
    prepared: dict[tuple[int, int], list[Run]] = {}
    audited: dict[tuple[int, int], list[Run]] = {}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        shards, sources = root / "shards", pictures(args.pictures, root)
        for count in args.counts:
            source = root / f"source-{count}"
            for name in ("real", "fake"):
                (source / name).mkdir(parents=True)
            with ProcessPoolExecutor(2) as pool:
                list(pool.map(draw, [(source, sources, part, count) for part in range(2)]))
            prepare = ["-m", "dfd.cli", "prepare", str(source), "--out", str(shards)]
            if args.audit:
                timed(prepare)
            for _ in range(args.rounds):
                if not args.audit:
                    plain = [__file__, "--necessary", str(source), str(root / "copy")]
                    needed.setdefault(count, []).append(timed(plain))
                    rmtree(root / "copy")
                for processes in args.processes:
                    case, workers = (count, processes), f"--workers={processes}"
                    if args.audit:
                        command = [
                            "-m",
                            "dfd.cli",
                            "audit",
                            str(shards),
                            "--out",
                            str(root / "page"),
                            workers,
                        ]
                        audited.setdefault(case, []).append(timed(command))
                        continue
                    prepared.setdefault(case, []).append(timed([*prepare, workers]))
                    rmtree(shards)
            rmtree(source)
            rmtree(shards, ignore_errors=True)
    console = Console(width=128)
    console.print(f"{os.cpu_count()} cores; medians of {args.rounds} rounds; targets {TARGETS}")
    if args.audit:
        console.print(audit_page(audited))
    else:
        console.print(prepare_page(needed, prepared))
        for line in (*further(needed, prepared), *speed_up(prepared)):
            console.print(line)


def prepare_page(needed: dict[int, list[Run]], prepared: dict[tuple[int, int], list[Run]]) -> Table:
    page = Table(
        "images", "processes", "necessary, images/s", "prepare, images/s", "ratio (low-high)", "in CPU", "MB"
    )
    for (count, processes), runs in prepared.items():
        pairs = list(zip(needed[count], runs, strict=True))
        ratios = [plain.seconds / ours.seconds for plain, ours in pairs]
        in_cpu = statistics.median(plain.cpu / ours.cpu for plain, ours in pairs)
        page.add_row(
            f"{count}", f"{processes}", f"{count / median(needed[count], 'seconds'):.0f}",
            f"{count / median(runs, 'seconds'):.0f}", f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            f"{in_cpu:.2f}", f"{median(runs, 'memory'):.0f}",
        )  # fmt: skip
    return page


def audit_page(audited: dict[tuple[int, int], list[Run]]) -> Table:
    page = Table("images", "processes", "audit, seconds", "images/s", "CPU seconds", "MB")
    for (count, processes), runs in audited.items():
        seconds = median(runs, "seconds")
        facts = (
            f"{seconds:.1f}",
            f"{count / seconds:.0f}",
            f"{median(runs, 'cpu'):.1f}",
            f"{median(runs, 'memory'):.0f}",
        )
        page.add_row(f"{count}", f"{processes}", *facts)
    return page


def further(needed: dict[int, list[Run]], prepared: dict[tuple[int, int], list[Run]]) -> Iterator[str]:
    """What an image more costs: of a large set, nearly everything."""
    counts = sorted({count for count, _ in prepared})
    if len(counts) < 2:
        return
    few, many = counts[0], counts[-1]
    for unit in ("seconds", "cpu"):
        plain = 1000 * (median(needed[many], unit) - median(needed[few], unit)) / (many - few)
        for processes in sorted({processes for _, processes in prepared}):
            more = median(prepared[many, processes], unit) - median(prepared[few, processes], unit)
            ours = 1000 * more / (many - few)
            yield (
                f"a further image, {processes} processes, {unit}: {ours:.3f} ms; necessary {plain:.3f} ms; "
                f"ratio {plain / ours:.2f}"
            )


def speed_up(prepared: dict[tuple[int, int], list[Run]]) -> Iterator[str]:
    for count, processes in prepared:
        if processes > 1 and (count, 1) in prepared:
            gained = median(prepared[count, 1], "seconds") / median(prepared[count, processes], "seconds")
            yield f"{count} images: {processes} processes are {gained:.2f} times as fast as one"


def median(runs: list[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


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
