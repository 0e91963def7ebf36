"""The forensic benchmark: tools x sets x conditions, as one file a cell, one table, and pages of it.

What is there of the same pictures and the same version of a tool is not made again, so that an interrupted
one goes on, and a new tool costs its own time alone.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dfd import __version__
from dfd.durable import explain_os_error
from dfd.evaluate.folder import CSV_FILE, METRICS_FILE, check_out
from dfd.evaluate.forensic_benchmark.examined import (
    Examined,
    Task,
    Toolbox,
    cell_file,
    cell_identity,
    examine_picture,
    is_done,
    write_cell,
)
from dfd.evaluate.forensic_benchmark.metrics import Cell, tidy
from dfd.evaluate.forensic_benchmark.page import report_html, report_markdown, tables
from dfd.evaluate.forensic_benchmark.pictures import (
    EDITED_ORIGINALS,
    EDITED_SIMULATED,
    Edited,
    PictureSet,
    Toy,
    large_enough,
    open_originals,
    open_shards,
)
from dfd.evaluate.forensic_benchmark.scenes import Scenes
from dfd.evaluate.forensic_benchmark.trust import measure
from dfd.evaluate.names import named, root_name
from dfd.forensics import Tool
from dfd.outputs import output_file
from dfd.parallel import ProcessPool, num_processes
from dfd.progress import progress

RECORD, MEASURED, REPORT, PAGE = "benchmark.json", "measured.json", "REPORT.md", "report.html"


@dataclass(frozen=True)
class Sizes:
    """How many pictures.

    Args:
        scenes: photographs of the simulated camera that are edited.
        toy: of the toy set.
        limit: of each class of finished shards.
        photographs: of the camera's originals that are edited; all of them are looked at for false alarms.
    """

    scenes: int = 20
    toy: int = 60
    limit: int = 60
    photographs: int = 40


QUICK = Sizes(scenes=6, toy=24, limit=12, photographs=6)


@dataclass(frozen=True)
class Benchmark:
    """What was made; `str` of it is the command's answer."""

    out: Path
    table: pa.Table
    num_pictures: int
    verdicts: Sequence[tuple[str, ...]]

    def __str__(self) -> str:
        lines = []
        for tool, trust, on, after, *_ in self.verdicts:
            where = f" ({on})" if on else ""
            lines.append(f"{tool}: {trust}{where}; after JPEG 75 {after}")
        lines.append(f"{self.num_pictures} pictures, {len(self.table)} figures: {self.out / REPORT}")
        return "\n".join(lines)


def sets_of(
    roots: Sequence[str] = (),
    originals: Sequence[Path] = (),
    sizes: Sizes = Sizes(),
    seed: int = 0,
) -> list[PictureSet]:
    """The sets of the benchmark: with no data at all, those of a simulated camera and the toy set.

    Args:
        roots: folders of finished shards, or "NAME=ROOT".
        originals: untouched camera photographs, or folders of them; without any, no real camera's false
            alarms are known.
        seed: of scenes and edits.

    Raises:
        ValueError: something is wrong with what was named; says what.
    """
    folders = named(map(str, roots), "root", root_name)
    sets: list[PictureSet] = []
    if originals:
        files = open_originals(originals)
        sets.append(files)
        if large := large_enough(files, sizes.photographs):
            sets.append(Edited(large, EDITED_ORIGINALS, seed))
    sets += [Edited(Scenes(sizes.scenes, seed), EDITED_SIMULATED, seed), Toy(sizes.toy, seed)]
    taken = {each.name for each in sets}
    for name, root in folders.items():
        if name in taken:
            raise ValueError(f"{root} is called {name}, as a set of dfd's own. Name it: NAME={root}.")
        sets.append(open_shards(name, root, sizes.limit))
    return sets


def bench(
    out: Path,
    sets: Sequence[PictureSet],
    toolbox: Toolbox,
    names: Sequence[str] = (),
    seed: int = 0,
    workers: int | None = None,
) -> Benchmark:
    """Measures tools and writes metrics.parquet, metrics.csv, measured.json, REPORT.md and report.html.

    Args:
        out: folder of the results: new, or that of an earlier benchmark.
        sets: see `sets_of`.
        toolbox: makes the tools; `ToolsOf(files)` makes those of dfd.
        names: of the tools to measure; none for all.
        seed: that the sets were made by, for the record.

    Raises:
        ValueError: something is wrong with what was named; says what.
        OSError: `out` cannot be written, in words.
    """
    processes = num_processes(workers)
    check_out(out, [folder for each in sets for folder in each.folders], RECORD)
    tools = _chosen(toolbox(), names)
    passes = [Pass(each, condition, tools) for each in sets for condition in each.conditions]
    record = _record(sets, tools, seed)
    try:
        _write_json(out / RECORD, record)
        cells = [
            Cell(tool.name, each.pictures.name, each.condition, out / each.file(tool))
            for each in passes
            for tool in tools
        ]
        with _several_processes(processes) as run:
            _examine_all(out, passes, toolbox, run)
            table = tidy(cells, run)
        found = measure(table, {tool.name: tool.method for tool in tools})
        with output_file(out / METRICS_FILE) as temporary:
            pq.write_table(table, temporary)
        with output_file(out / CSV_FILE) as temporary:
            pa_csv.write_csv(table, temporary)
        # figures alone, for others: not where the pictures lay
        told = {name: record[name] for name in ("dfd", "seed", "sets")}
        lines = [f'"{name}": {json.dumps(each.plain(), allow_nan=False)}' for name, each in found.items()]
        # a line a tool, so that a change of one is seen
        text = json.dumps(told)[:-1] + ', "tools": {\n' + ",\n".join(lines) + "\n}}\n"
        with output_file(out / MEASURED) as temporary:
            temporary.write_text(text, encoding="utf-8")
        for name, text in ((REPORT, report_markdown(record, found)), (PAGE, report_html(record, found))):
            with output_file(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise explain_os_error(error, out) from error
    return Benchmark(out, table, sum(map(len, sets)), tables(found)[0].rows)


class Pass(NamedTuple):
    """The cells of one set under one condition: each picture is made once for all tools."""

    pictures: PictureSet
    condition: str
    tools: Sequence[Tool]

    def file(self, tool: Tool) -> str:
        return cell_file(self.pictures.name, self.condition, tool.name)

    def missing(self, out: Path) -> list[Tool]:
        return [
            tool
            for tool in self.tools
            if not is_done(out / self.file(tool), cell_identity(self.pictures, self.condition, tool))
        ]


def _chosen(tools: Sequence[Tool], names: Sequence[str]) -> list[Tool]:
    known = {tool.name: tool for tool in tools}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--tools {unknown[0]}: there is no such tool. There are {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)] or list(tools)


def _examine_all(
    out: Path, passes: Sequence[Pass], toolbox: Toolbox, run: Callable[..., Iterable[Any]]
) -> None:
    """Makes the cells that are not there yet."""
    waiting = [(each, missing) for each in passes if (missing := each.missing(out))]
    with progress(sum(len(each.pictures) for each, _ in waiting), "pictures") as advance:
        for each, missing in waiting:
            wanted = tuple(tool.name for tool in missing)
            tasks = (
                Task(each.pictures, each.condition, number, toolbox, wanted)
                for number in range(len(each.pictures))
            )
            found: list[Examined] = []
            for examined in run(examine_picture, tasks):
                found.append(examined)
                advance(1)
            found.sort(key=lambda one: one.number)
            for place, tool in enumerate(missing):
                identity = cell_identity(each.pictures, each.condition, tool)
                write_cell(out / each.file(tool), (one.lines[place] for one in found), identity)


@contextmanager
def _several_processes(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map` over so many processes, whose results come in any order."""
    if count < 2:
        yield map
        return
    with ProcessPool(count, "dfd.evaluate.forensic_benchmark.examined") as pool:
        yield pool.run


def _record(sets: Sequence[PictureSet], tools: Sequence[Tool], seed: int) -> dict[str, Any]:
    """What the benchmark is of."""
    return {
        "dfd": __version__,
        "command": shlex.join(["dfd", *sys.argv[1:]]),
        "seed": seed,
        "sets": [
            {"name": each.name, "images": len(each), "conditions": list(each.conditions), **each.identity()}
            for each in sets
        ],
        "tools": {tool.name: {"version": tool.method.version} for tool in tools},
    }


def _write_json(path: Path, told: Any) -> None:
    with output_file(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
