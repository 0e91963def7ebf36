"""How training grows: images/s with a second process, and what the number of samples does to start-up, memory
and order.

Images/s: `dfd fit` of mobilenetv2_100 on 96 px of the toy set, one process and two, one thread each, with the
same global batch, by turns; timed from the fifth step to the last. Where other programs crowd the cores two
processes get more of them than one does, so that the ratio says nothing: believe the CPU time an image then.

Samples: a made-up table in the columns of `dfd prepare`, its shards empty files of the right size. The ranks
of one node are processes of their own, and start together; each does what it does before its first step: it
reads the table ("set up"), draws the order of an epoch ("order"), and counts what a checkpoint says of the
data ("record"). The first start finds nothing made ("anew"), the second what the first made. Seconds are
those of the slowest rank. Memory is what the ranks grew by over what imports take, a page that several share
counted once (PSS): "node" all ranks together at their peak, of ten readings a second, "shared" what of it
they map at the end, "a rank" the most that one of them holds of its own. What would take more than half of
the free memory, or more than the seconds that are left, is not measured.

    python benchmarks/scale.py
    python benchmarks/scale.py --rounds 0 --ranks 8                            # samples alone
    python benchmarks/scale.py --rounds 0 --samples 1e8 --seconds 3000         # some 13 GB of disk
"""

import argparse
import gc
import json
import os
import queue
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from step import SKIP, Clock

from dfd.data import ShardDataModule, View
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
    with pq.ParquetWriter(root / SAMPLES_FILE, SCHEMA, compression="zstd") as writer:
        for start in range(0, num, CHUNK):
            writer.write_table(
                _rows(rng, np.arange(start, min(start + CHUNK, num)), [shard["name"] for shard in shards])
            )
    fake, val = num // 2, -(-num // 51)
    none, both = {"real": 0, "fake": 0}, {"real": num - fake, "fake": fake}
    held_out = {"real": -(-val // 2), "fake": val // 2}
    told = {
        "shards": shards, "images": num, "families": num, "classes": both, "made_by": {"command": "prepare"},
        "splits": {
            "train": {name: both[name] - held_out[name] for name in both}, "val": held_out, "test": none
        },
    }  # fmt: skip
    (root / INDEX).write_text(json.dumps(told))


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


def start(root: Path, small: Path, barrier: Any, told: Any) -> None:
    """What a rank does before its first step, and what it took; with `small` shards first, for the imports."""
    opened(small).setup("fit")
    gc.collect()
    before, seconds = pss(os.getpid()), {}
    told.put((os.getpid(), before))
    barrier.wait()
    data = opened(root)
    _timed(seconds, "set up", lambda: data.setup("fit"))
    _timed(seconds, "order", lambda: setattr(data, "kept", data._order()(0)))
    _timed(seconds, "record", data._record)
    barrier.wait()
    after = pss(os.getpid())
    told.put((seconds, {name: after[name] - before[name] for name in after}))
    barrier.wait()  # until all have read what they share


def opened(root: Path) -> ShardDataModule:
    data = ShardDataModule(str(root), View(), num_workers=0)
    data.trainer = SimpleNamespace(
        limit_train_batches=1.0, limit_val_batches=1.0, world_size=1, global_rank=0, num_nodes=1
    )
    return data


def _timed(seconds: dict[str, float], name: str, work: Callable[[], object]) -> None:
    began = time.perf_counter()
    work()
    seconds[name] = time.perf_counter() - began


def pss(process: int) -> dict[str, int]:
    """Bytes of a process, of what it shares its part: all, of its own making, of files."""
    with suppress(OSError):
        found = dict(
            re.findall(r"^(Pss\w*):\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.M)
        )
        return {name: 1024 * int(found[name]) for name in ("Pss", "Pss_Anon", "Pss_File")}
    return dict.fromkeys(("Pss", "Pss_Anon", "Pss_File"), 0)


def node(root: Path, small: Path, ranks: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the slowest rank by part, and bytes of all ranks together."""
    context = get_context("fork")
    barrier, told = context.Barrier(ranks), context.Queue()
    processes = [context.Process(target=start, args=(root, small, barrier, told)) for _ in range(ranks)]
    for process in processes:
        process.start()
    begun, most, found = {}, 0, []
    while len(found) < ranks:
        with suppress(queue.Empty):
            told_now = told.get(timeout=0.1)
            if len(begun) < ranks:
                begun |= dict([told_now])
            else:
                found.append(told_now)
        if len(begun) == ranks:
            grown = sum(pss(process)["Pss"] - before["Pss"] for process, before in begun.items())
            most = max(most, grown)
        if any(process.exitcode for process in processes):
            for process in processes:
                process.kill()
            raise RuntimeError("a rank ended too early: an error above, or no memory for so many samples")
    for process in processes:
        process.join()
    seconds = {name: max(each[name] for each, _ in found) for name in found[0][0]}
    return seconds, {
        "node": most,
        "shared": sum(held["Pss_File"] for _, held in found),
        "rank": max(held["Pss_Anon"] for _, held in found),
    }


def free_memory() -> int:
    """Bytes that others leave."""
    found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    return 1024 * int(found[1])


def grown(samples: list[int], ranks: int, limit: float) -> Table:
    """Lines of what was measured for each number of samples, in at most about `limit` seconds."""
    page = Table(
        "samples", "start", "set up", "order", "record", "MB a node", "shared", "MB a rank", "bytes a sample"
    )
    end, last, took, held = time.monotonic() + limit, 0, 0.0, 0.0
    for num in samples:
        times = num / last if last else 1.0
        if last and (times * held > free_memory() / 2 or times * took > end - time.monotonic()):
            page.add_row(f"{num:.0e}", "not measured")
            continue
        began = time.monotonic()
        with TemporaryDirectory() as folder:
            root, small = Path(folder) / "shards", Path(folder) / "small"
            for path, count in ((root, num), (small, 1000)):
                path.mkdir()
                make = get_context("fork").Process(target=write_table, args=(path, count))
                make.start()
                make.join()
            os.environ["DFD_CACHE"] = str(Path(folder) / "cache")
            for name in ("anew", "again"):
                seconds, memory = node(root, small, ranks)
                page.add_row(
                    f"{num:.0e}", name, *(f"{seconds[part]:.2f}" for part in ("set up", "order", "record")),
                    *(f"{memory[part] / 1e6:.0f}" for part in ("node", "shared", "rank")),
                    f"{memory['node'] / num:.0f}",
                )  # fmt: skip
                held = max(held if last == num else 0.0, memory["node"])
        last, took = num, time.monotonic() - began
    return page


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
    parser.add_argument("--ranks", type=int, default=2, help="of a node, for the samples")
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
        f"samples, {args.ranks} ranks; {free_memory() / 1e9:.0f} GB free",
        grown([int(num) for num in args.samples], args.ranks, args.seconds),
    )


if __name__ == "__main__":
    main()
