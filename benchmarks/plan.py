"""What a data set of 100 million images costs 512 ranks: memory of table and order, requests and bytes a
second.

Measured here, each in a process of its own: the memory that a rank takes for the table of a synthetic set
behind a web server (at two sizes; per row is the slope), and for an epoch's order of --order_rows rows,
shuffled whole and by windows. The rest is arithmetic on these and on the arguments; what was extrapolated is
called so.

    python benchmarks/plan.py
    python benchmarks/plan.py --rows 1000000 10000000 --order_rows 100000000      # needs about 10 GB
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from dfd.data import ShardDataModule
from dfd.data.order import Windows, epoch_order
from dfd.shards.cache import Cache
from dfd.shards.format import INDEX, SAMPLES_FILE, SCHEMA

_CHUNK = 1_000_000


def synthetic(root: Path, rows: int, a_shard: int, a_picture: int) -> tuple[None, dict]:
    """index.json and samples.parquet of a set whose shards nobody will read: columns as long as those of real
    sets.
    """
    names = [f"train-{number:06d}.tar" for number in range(-(-rows // a_shard))]
    with pq.ParquetWriter(root / SAMPLES_FILE, SCHEMA, compression="zstd") as writer:
        for first in range(0, rows, _CHUNK):
            writer.write_table(_some(np.arange(first, min(first + _CHUNK, rows)), names, a_shard, a_picture))
    shards = [
        {"name": name, "split": "train", "images": a_shard, "bytes": a_shard * a_picture, "sha256": "0" * 64}
        for name in names
    ]
    none, half = {"real": 0, "fake": 0}, {"real": rows - rows // 2, "fake": rows // 2}
    told = {
        "shards": shards,
        "images": rows,
        "families": rows,
        "classes": half,
        "made_by": {"command": "prepare"},
    }
    told["splits"] = {"train": half, "val": none, "test": none}
    (root / INDEX).write_text(json.dumps(told))
    return None, {}


def _some(row: np.ndarray, names: list[str], a_shard: int, a_picture: int) -> pa.Table:
    rng = np.random.default_rng(int(row[0]))
    digests = rng.bytes(32 * len(row)).hex()
    # 10 bytes in hex, as `prepare` makes them
    keys = [digests[at : at + 20] for at in range(0, len(digests), 64)]
    split = np.where(row % 1000, "train", "val")
    constant = lambda value: pa.array([value]).take(pa.array(np.zeros(len(row), np.int32)))  # noqa: E731
    columns = {
        "key": keys, "path": [f"train/fake/{key}.jpg" for key in keys], "shard": np.asarray(names)[row // a_shard],
        "offset": row % a_shard * a_picture, "length": np.full(len(row), a_picture), "mask_offset": np.full(len(row), -1),
        "mask_length": np.zeros(len(row), int), "label": row % 2, "split": split, "source": constant("synthetic"),
        "method": constant("stylegan"), "groups": [[f"v{number // 20}"] for number in row.tolist()], "family": keys,
        "width": np.full(len(row), 256), "height": np.full(len(row), 256), "format": constant("JPEG"),
        "sha256": [digests[at : at + 64] for at in range(0, len(digests), 64)],
        "phash": pa.array([digests[at : at + 32].encode() for at in range(0, len(digests), 64)], pa.binary()),
    }  # fmt: skip
    return pa.table(
        {name: pa.array(column).cast(SCHEMA.field(name).type) for name, column in columns.items()}, SCHEMA
    )


def measured(work: Callable, *args: object) -> dict[str, float]:
    """The facts that `work` returns beside what it made; by how many bytes its process grew and at most had
    grown; seconds.
    """
    context = get_context("fork")
    queue = context.SimpleQueue()

    def run() -> None:
        before, start = _resident(), time.perf_counter()
        kept, facts = work(*args)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        queue.put({**facts, "held": _resident() - before, "peak": peak - before, "seconds": seconds})
        del kept

    process = context.Process(target=run)
    process.start()
    while not queue.empty() or process.is_alive():
        if not queue.empty():
            found = queue.get()
            process.join()
            return found
        time.sleep(0.05)
    raise SystemExit(
        f"{work.__name__} died with exit code {process.exitcode}: is there memory for so many rows?"
    )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def open_table(url: str, folder: str) -> tuple[ShardDataModule, dict]:
    data = ShardDataModule(url, window=8, num_workers=0, cache=Cache(folder))
    data.setup("validate")
    return data, {"rows": len(data.contents)}


def order(rows: int, a_shard: int, window: int | None) -> tuple[object, dict]:
    columns = np.arange(rows), (np.arange(rows) // a_shard).astype(np.int32), np.zeros(rows, np.int16)
    before = _resident()
    if window is None:
        drawn = epoch_order(columns[0], columns[2], [1.0], 0, 0)
    else:
        drawn = Windows(*columns, [1.0], 0, window)(0)
        drawn[: a_shard * window]
    return (columns, drawn), {"order": _resident() - before}


def shards_of_a_node(window: int, a_shard: int, batch: int, nodes: int) -> float:
    """Shards of a window that the ranks of one node would read, were a global batch dealt out sorted by
    shard.
    """
    rows = window * a_shard
    windows = Windows(np.arange(rows), np.arange(rows) // a_shard, np.zeros(rows, int), [1.0], 0, window)
    shard = windows(0)[:] // a_shard
    full = np.sort(shard[: rows // batch * batch].reshape(-1, batch), axis=1)
    return float(
        np.mean([len(np.unique(part)) for part in np.split(full[:, : batch // nodes * nodes], nodes, axis=1)])
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, nargs=2, default=[500_000, 2_000_000], help="of the tables that are measured"
    )
    parser.add_argument("--order_rows", type=int, default=20_000_000)
    parser.add_argument("--images", type=int, default=100_000_000)
    parser.add_argument("--ranks", type=int, default=512)
    parser.add_argument("--ranks_a_node", type=int, default=8)
    parser.add_argument("--picture", type=int, default=13_000, help="bytes; a 256 px JPEG of quality 90")
    parser.add_argument("--shard", type=int, default=64_000_000, help="bytes")
    parser.add_argument("--window", type=int, default=64, help="shards")
    parser.add_argument("--batch", type=int, default=16_384, help="images of a global batch")
    parser.add_argument("--speed", type=float, default=500, help="images/s of a rank")
    args = parser.parse_args()
    a_shard = args.shard // args.picture
    found = []
    with TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-u",
            "-m",
            "http.server",
            "0",
            "--bind",
            "127.0.0.1",
            "--directory",
            scratch,
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            port = server.stdout.readline().split(" port ")[1].split()[0]
            for rows in args.rows:
                root = Path(scratch) / str(rows)
                root.mkdir()
                measured(synthetic, root, rows, a_shard, args.picture)
                table = measured(open_table, f"http://127.0.0.1:{port}/{rows}", f"{scratch}/cache")
                found.append({**table, "file": (root / SAMPLES_FILE).stat().st_size})
        finally:
            server.kill()
            server.wait()
    slope = {
        name: (found[1][name] - found[0][name]) / (args.rows[1] - args.rows[0])
        for name in ("held", "peak", "file", "seconds")
    }
    page = Table(
        "a rank, measured",
        "bytes a row",
        f"at {args.images:,} rows",
        title=f"{args.images:,} images, {args.ranks} ranks",
    )
    for name, text in (
        ("file", "table as a file"),
        ("held", "table in memory"),
        ("peak", "table while it is opened"),
    ):
        page.add_row(text, f"{slope[name]:.1f}", f"{slope[name] * args.images / 1e9:.1f} GB, extrapolated")
    page.add_row("opening it", "", f"{slope['seconds'] * args.images:.0f} s, extrapolated")
    scale = "measured" if args.order_rows == args.images else "extrapolated"
    for text, window in (("order, shuffled whole", None), (f"order, windows of {args.window}", args.window)):
        one = measured(order, args.order_rows, a_shard, window)
        whole = one["order"] * (args.images / args.order_rows if window is None else 1)
        page.add_row(
            text,
            f"{one['order'] / args.order_rows:.2f}",
            f"{whole / 1e9:.2f} GB, {scale if window is None else 'a window'}",
        )
    Console(width=120).print(page, plan(args, a_shard))


def plan(args: argparse.Namespace, a_shard: int) -> Table:
    shards, nodes = -(-args.images // a_shard), args.ranks // args.ranks_a_node
    epoch = args.images / (args.ranks * args.speed)
    page = Table("the store, by arithmetic", "as it is", "were batches dealt by shard")
    touched = shards_of_a_node(args.window, a_shard, args.batch, nodes) / args.window
    both = (1.0, touched)
    page.add_row("share of the shards that a node reads", *(f"{share:.3f}" for share in both))
    page.add_row("GET a second, all nodes", *(f"{share * shards * nodes / epoch:,.0f}" for share in both))
    page.add_row(
        "GB a second, a node", *(f"{share * args.images * args.picture / epoch / 1e9:.2f}" for share in both)
    )
    page.add_row(
        "GB a second, all nodes",
        *(f"{share * args.images * args.picture / epoch / 1e9 * nodes:.1f}" for share in both),
    )
    page.add_row("at the start: GET and HEAD of index and table", f"{4 * args.ranks:,} at most", "")
    page.add_row("cache of a node, two windows", f"{2 * args.window * args.shard / 1e9:.1f} GB", "")
    page.caption = (
        f"{shards:,} shards, {nodes} nodes, an epoch in {epoch:.0f} s at {args.speed:g} images/s a rank"
    )
    return page


if __name__ == "__main__":
    main()
