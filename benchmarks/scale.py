"""How training grows: images/s with a second process, and what the number of samples does to start-up, memory
and order.

Images/s: `dfd fit` of mobilenetv2_100 on 96 px of the toy set, one process and two, one thread each, with the
same global batch, by turns; timed from the fifth step to the last. Where other programs crowd the cores two
processes get more of them than one does, so that the ratio says nothing: believe the CPU time an image then.

Samples: a made-up table in the columns of `dfd prepare`, its shards empty files of the right size. Each
measurement is a process of its own, as every rank is one, and memory is the most that it held over what
imports take. "set up" is what the data module does before an epoch, "fingerprints" what `dfd fit` remembers
the training pictures by, "order" one epoch's. "columns" and "order" make the columns that stay with a rank in
memory, so that they reach further than a table on disk. What would take more than half of the free memory, or
more than the seconds that are left, is not measured: the last line that was, times the samples, marked
"about".

    python benchmarks/scale.py
    python benchmarks/scale.py --rounds 0           # samples alone
    python benchmarks/scale.py --samples 1e4 1e5    # up to a tenth of a million
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from step import SKIP, Clock

from dfd.data import ShardDataModule, View
from dfd.data.order import epoch_order
from dfd.data.stream import Contents
from dfd.shards.format import INDEX, SAMPLES_FILE, SCHEMA

# after dfd, which lets torchvision load beside CPU torch
from lightning.pytorch import LightningModule, Trainer  # isort: skip

BYTES, PER_SHARD = 30_000, 2_000  # of a picture; pictures in a shard
CHUNK = 1_000_000  # samples of a table that are made at once
STEPS = 20

# samples


def write_table(root: Path, num: int) -> None:
    """Finished shards of `num` samples, 98% of them for training, without a picture in them."""
    shards = [
        {"name": f"train-{shard:06d}.tar", "bytes": BYTES * PER_SHARD, "sha256": "0" * 64}
        for shard in range(-(-num // PER_SHARD))
    ]
    for shard in shards:
        with (root / shard["name"]).open("wb") as file:
            file.truncate(shard["bytes"])  # takes no room on the disk
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(root / SAMPLES_FILE, SCHEMA) as writer:
        for start in range(0, num, CHUNK):
            writer.write_table(
                _rows(rng, np.arange(start, min(start + CHUNK, num)), [shard["name"] for shard in shards])
            )
    (root / INDEX).write_text(json.dumps({"shards": shards}))


def _rows(rng: np.random.Generator, row: np.ndarray, shards: list[str]) -> pa.Table:
    count = len(row)
    digest = np.frombuffer(rng.bytes(32 * count).hex().encode(), np.uint8).reshape(count, 64)
    words = {
        "split": ["train", "val"],
        "source": ["made-up"],
        "method": ["", "swap"],
        "format": ["JPEG"],
        "shard": shards,
    }
    picks = {"split": row % 51 == 0, "method": row % 2, "shard": row // PER_SHARD}
    numbers = {
        "offset": row % PER_SHARD * BYTES,
        "length": BYTES,
        "mask_offset": -1,
        "label": row % 2,
        "width": 256,
        "height": 256,
    }
    widths = {"key": 20, "path": 40, "family": 64, "sha256": 64, "phash": 32}
    columns = []
    for field in SCHEMA:
        if field.name in words:
            index = pa.array(np.broadcast_to(picks.get(field.name, 0), count).astype(np.int64)).cast(
                field.type.index_type
            )
            columns.append(pa.DictionaryArray.from_arrays(index, words[field.name]))
        elif field.name in widths:
            columns.append(_texts(digest[:, : widths[field.name]], field.type))
        elif pa.types.is_list(field.type):
            columns.append(
                pa.ListArray.from_arrays(
                    pa.array(np.zeros(count + 1, np.int32)), pa.array([], field.type.value_type)
                )
            )
        else:
            columns.append(
                pa.array(np.broadcast_to(numbers.get(field.name, 0), count).astype(np.int64)).cast(field.type)
            )
    return pa.table(columns, schema=SCHEMA)


def _texts(characters: np.ndarray, kind: pa.DataType) -> pa.Array:
    count, width = characters.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(
        kind, count, [None, pa.py_buffer(offsets), pa.py_buffer(characters.tobytes())]
    )


def from_table(root: Path, num: int) -> dict[str, list[float]]:
    """Seconds of a rank that opens `num` samples on disk."""
    seconds: dict[str, list[float]] = {}
    data = ShardDataModule(str(root), View(), num_workers=0)
    _timed(seconds, "set up", lambda: data.setup("fit"))
    _timed(seconds, "fingerprints", lambda: data.fingerprints(data.rows("train")))
    return seconds


def from_columns(num: int) -> dict[str, list[float]]:
    """Seconds of three epochs' orders of `num` samples whose columns are in memory."""
    seconds: dict[str, list[float]] = {}
    row = np.arange(num)
    shards = [Path(f"train-{shard:06d}.tar") for shard in range(-(-num // PER_SHARD))]
    contents = Contents(
        shards=shards,
        shard=(row // PER_SHARD).astype(np.int32),
        offset=row % PER_SHARD * BYTES,
        length=np.full(num, BYTES),
        label=(row % 2).astype(np.int8),
        root=np.zeros(num, np.int16),
    )
    for epoch in range(3):
        _timed(
            seconds,
            "order",
            lambda epoch=epoch: epoch_order(row, contents.root, [1.0], 0, epoch),
        )
    return seconds


def _timed(seconds: dict[str, list[float]], name: str, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    seconds.setdefault(name, []).append(time.perf_counter() - start)


def memory(name: str, file: str = "/proc/self/status") -> int:
    """Bytes, by Linux's name: VmRSS is what this process holds, VmHWM the most that it held, MemAvailable
    what others leave.
    """
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path(file).read_text())[1])


def free_memory() -> int:
    return memory("MemAvailable", "/proc/meminfo")


def apart(work: Callable[..., Any], *args: Any) -> tuple[Any, int]:
    """What `work` gives in a process of its own, and the most bytes that this held over what it began with."""
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def run() -> None:
        before = memory("VmRSS")
        theirs.send((work(*args), memory("VmHWM") - before))

    process = context.Process(target=run)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise RuntimeError(
            f"{getattr(work, 'func', work).__name__} of {args[-1]:.0e} samples was killed: it needs more "
            "memory than there is."
        ) from None
    finally:
        process.join()


def grown(samples: list[int], limit: float) -> Table:
    """Lines of what was measured for each number of samples, in at most about `limit` seconds."""
    page = Table("samples", "", "seconds", "lowest-highest", "MB of a rank", "bytes a sample")
    with TemporaryDirectory() as folder:
        _grown(
            page,
            samples,
            limit / 2,
            lambda num: apart(write_table, Path(folder), num),
            partial(from_table, Path(folder)),
        )
    _grown(page, samples, limit / 2, lambda num: None, from_columns)
    return page


def _grown(
    page: Table,
    samples: list[int],
    limit: float,
    prepare: Callable[[int], Any],
    work: Callable[[int], dict[str, list[float]]],
) -> None:
    end, last, held, took, found = time.monotonic() + limit, 0, 0, 0.0, {}
    for num in samples:
        times = num / last if last else 1.0
        if last and (times * held > free_memory() / 2 or times * took > end - time.monotonic()):
            _lines(page, num, found, held, times)
            continue
        start = time.monotonic()
        prepare(num)
        prepared = time.monotonic()
        runs = [apart(work, num) for _ in range(3 if num <= CHUNK else 1)]
        found = {name: [second for seconds, _ in runs for second in seconds[name]] for name in runs[0][0]}
        last, held, took = (
            num,
            max(most for _, most in runs),
            prepared - start + (time.monotonic() - prepared) / len(runs),
        )
        _lines(page, num, found, held)
    page.add_section()


def _lines(page: Table, num: int, found: dict[str, list[float]], held: int, times: float = 1.0) -> None:
    """One line for each part; of what was measured, or `times` as much of it."""
    about = "" if times == 1 else "about "
    for name, seconds in found.items():
        page.add_row(
            f"{num:.0e}",
            name,
            f"{about}{times * statistics.median(seconds):.3g}",
            "" if about or len(seconds) == 1 else f"{min(seconds):.3g}-{max(seconds):.3g}",
            f"{about}{times * held / 1e6:.0f}",
            "" if about else f"{held / num:.0f}",
        )


# processes


class ClockOfARank(Clock):
    """A file for each rank."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.out = self.out.with_name(f"speed-{trainer.global_rank}.json")


def speed(folder: Path, processes: int) -> tuple[float, float]:
    """Images/s and CPU milliseconds an image, of all ranks of one `dfd fit`."""
    clock = {"class_path": "scale.ClockOfARank", "init_args": {"out": str(folder / "speed.json")}}
    backbone = {"class_path": "dfd.models.TimmBackbone", "init_args": {"name": "mobilenetv2_100"}}
    net = {"class_path": "dfd.models.SingleStream", "init_args": {"backbone": backbone}}
    config = {
        "model": {"class_path": "dfd.tasks.ClassificationTask", "init_args": {"net": net}},
        "data": {
            "class_path": "dfd.data.ToyDataModule",
            "init_args": {
                "num_images": 240,
                "view": {"size": 96, "longest": 160},
                "batch_size": 16,
                "num_workers": 0,
            },
        },
        "trainer": {"max_steps": STEPS, "limit_val_batches": 0, "callbacks": [clock]},
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # YAML holds JSON
    overlay = "overlay/ddp" if processes > 1 else "overlay/cpu"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    here = str(Path(__file__).parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    command = [
        sys.executable,
        "-m",
        "dfd.cli",
        "fit",
        "--config",
        str(folder / "config.yaml"),
        "--config",
        overlay,
    ]
    done = subprocess.run(
        [*command, f"--trainer.devices={processes}", "--run_folder", str(folder / "run")],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"dfd fit ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    ranks = [json.loads((folder / f"speed-{rank}.json").read_text()) for rank in range(processes)]
    # rank 0 counts the CPU time of those that it started
    return sum(images for images, _ in ranks), ranks[0][1] / processes


def one_and_two(rounds: int) -> Table:
    speeds: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for number, found in speeds.items():
            with TemporaryDirectory() as folder:
                found.append(speed(Path(folder), number))
    page = Table(
        "processes", "images/s", "lowest-highest", "of one process", "lowest-highest", "CPU ms an image"
    )
    for number, timed in speeds.items():
        found, cpu = zip(*timed, strict=True)
        ratios = [ours / alone for ours, (alone, _) in zip(found, speeds[1], strict=True)]
        page.add_row(
            str(number),
            f"{statistics.median(found):.1f}",
            f"{min(found):.1f}-{max(found):.1f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f}-{max(ratios):.2f}",
            f"{statistics.median(cpu):.1f}",
        )
    return page


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7, 1e8])
    parser.add_argument("--rounds", type=int, default=3, help="of one process and two; 0 leaves them out")
    parser.add_argument("--seconds", type=float, default=120, help="for the samples, about")
    args = parser.parse_args()
    console = Console(width=110)
    load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    if args.rounds:
        console.print(
            f"`dfd fit`, one thread a process, {args.rounds} rounds of {STEPS - SKIP} steps; {load}",
            one_and_two(args.rounds),
        )
    console.print(
        f"samples; {free_memory() / 1e9:.0f} GB free", grown([int(num) for num in args.samples], args.seconds)
    )


if __name__ == "__main__":
    main()
