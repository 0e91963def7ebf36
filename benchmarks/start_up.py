"""How long `dfd` takes to answer, beside a bare Python on the same machine at the same time.

    python benchmarks/start_up.py [--runs 7]

Promised on an idle core: the help of dfd and of our own verbs within 0.5 s, that of `dfd fit` within 4.5 s.
Wall time grows with whatever else runs; CPU time hardly does, so judge by that on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": (["-c", "pass"], None),
    "dfd --help": (["-m", "dfd.cli", "--help"], 0.5),
    "dfd score --help": (["-m", "dfd.cli", "score", "--help"], 0.5),
    "dfd prepare --help": (["-m", "dfd.cli", "prepare", "--help"], 0.5),
    "dfd fit --help": (["-m", "dfd.cli", "fit", "--help"], 4.5),
}


def seconds(args: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *args], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=7, help="timed runs of each command, after one that warms the file cache"
    )
    runs = parser.parse_args().runs
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for turn in range(runs + 1):
        # in turns: whatever else the machine does meets them all alike
        for name, (args, _) in COMMANDS.items():
            measured = seconds(args)
            if turn:
                times[name].append(measured)
    bare = statistics.median(cpu for _, cpu in times["python -c pass"])
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    print(f"medians of {runs} runs, Python {sys.version.split()[0]}, load {load:.1f} a core")
    print(f"{'':20} {'wall s':>7} {'CPU s':>7} {'x bare':>7} {'promise':>8}")
    late = []
    for name, (_, limit) in COMMANDS.items():
        wall, cpu = (statistics.median(column) for column in zip(*times[name], strict=True))
        promise = f"{limit:.1f} s" if limit else ""
        print(f"{name:20} {wall:7.2f} {cpu:7.2f} {cpu / bare:7.1f} {promise:>8}")
        if limit and cpu > limit:
            late.append(name)
    print(f"over the promise: {', '.join(late)}" if late else "all within the promise, by CPU time")
    return len(late)


if __name__ == "__main__":
    sys.exit(main())
