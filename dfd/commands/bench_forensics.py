"""Verb that measures the forensic tools: bench-forensics."""

from __future__ import annotations

from pathlib import Path


def bench_forensics(
    *,
    out: Path,
    originals: tuple[Path, ...] = (),
    on: tuple[str, ...] = (),
    tools: tuple[str, ...] = (),
    quick: bool = False,
    scenes: int | None = None,
    limit: int | None = None,
    faces: Path | None = None,
    mesh: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """How far the tools of dfd inspect may be believed: what they find of planted edits, how well they tell
    fakes from real pictures, how often they accuse an untouched photograph.

    OUT gets REPORT.md and report.html, metrics.csv and metrics.parquet, a line for each tool, set, condition,
    part and metric with its 95% interval, and measured.json, whose figures a page prints beside a finding.
    Photographs of a simulated camera and the toy set need no data. Interrupted and started again, it goes on.

    Args:
        out: Folder of the results: new, or that of an earlier dfd bench-forensics.
        originals: Photographs as their cameras wrote them, and folders of such: for false alarms, and for
            planted edits.
        on: Finished shards of real and fake pictures: one or several; NAME=ROOT gives one another name.
        tools: Names of the tools to measure; by default all.
        quick: A few pictures of each set, for a look.
        scenes: Photographs of the simulated camera that are edited; by default 40.
        limit: Pictures of each class of shards, at most; by default 100.
        faces: YuNet's .onnx file, for the tools that look at faces; by default the one of DFD_YUNET or of the
            extra dfd[faces].
        mesh: Mesh of 468 face points, a .tflite file, for those that need it.
        seed: Of scenes and edits.
        workers: Processes, at least 1; by default one a core.
    """
    from dataclasses import replace

    from dfd.evaluate.forensic_benchmark import QUICK, Sizes, ToolsOf, bench, sets_of
    from dfd.forensics.tools import Files

    sizes = QUICK if quick else Sizes()
    given = {name: value for name, value in (("scenes", scenes), ("limit", limit)) if value is not None}
    for name, value in given.items():
        if value < 2:
            raise ValueError(f"--{name} {value}: it takes at least 2.")
    sets = sets_of(on, originals, replace(sizes, **given), seed)
    print(bench(out, sets, ToolsOf(Files(faces=faces, mesh=mesh)), tools, seed, workers))


VERBS = (bench_forensics,)
