"""Audit of prepared shards and its HTML report: tables from samples.parquet, pixels read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dfd.audit.pictures import read_pictures
from dfd.audit.sections import (
    colors,
    duplicates,
    encodings,
    examples,
    holdings,
    method,
    rejected,
    sizes,
    spectra,
    verdict,
)
from dfd.audit.shortcuts import Shortcut, ask, color_facts, file_facts
from dfd.audit.sources import Sources
from dfd.batch import FAKE, LABELS, REAL
from dfd.durable import folder_if_used
from dfd.html import html_page
from dfd.outputs import check_file, output_file
from dfd.parallel import usable_cores
from dfd.progress import progress
from dfd.shards.checksum import verify
from dfd.shards.duplicates import Leaks, find_leaks
from dfd.shards.pattern import parse_root
from dfd.shards.table import load_table, read_index
from dfd.terminal import many

PAGE, FACTS = "audit.html", "facts.json"


@dataclass(frozen=True)
class Audit:
    """What `dfd audit` found; `str` of it is the command's answer."""

    out: Path
    num_images: int
    num_families: int
    families: tuple[int, int]  # with reals, and with fakes
    sources: Sources
    shortcuts: tuple[Shortcut, ...]
    leaks: Leaks

    def __str__(self) -> str:
        lines = [f"{many(self.num_images, 'image')} in {many(self.num_families, 'family')}"]
        lines += [str(self.sources)] * bool(str(self.sources))
        lines += [*map(str, self.shortcuts), str(self.leaks), f"page: {self.out / PAGE}"]
        return "\n".join(lines)


def audit(root: Path, out: Path, workers: int | None = None) -> Audit:
    """Writes OUT/audit.html, its figures as PNG files beside it, and facts.json with its numbers.

    Args:
        root: folder that `dfd prepare` or `dfd index` made, or a pattern of some of its shards.
        workers: processes that read pictures; by default one a core.

    Raises:
        ValueError: `root` holds no finished shards, or one whose bytes are not those that its index counted;
            or `workers` is no count.
        OSError: `out` cannot be written.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: it takes at least one process.")
    table, index = load_table(root), read_index(root)
    _check_out(out)
    with folder_if_used(out):
        return _audit(root, table, index, out, workers or usable_cores())


def _audit(title: Path, table: pa.Table, index: Mapping[str, Any], out: Path, workers: int) -> Audit:
    root = Path(parse_root(title).folder)
    with progress(len(index["shards"]), "checking shards") as advance:
        for shard in index["shards"]:
            verify(root / shard["name"], shard["sha256"], again=True)
            advance(1)
    with progress(len(table), "reading pictures") as advance:
        pictures = read_pictures(root, table, workers, advance)
    label = table["label"].to_numpy()
    family = table["family"].to_numpy(zero_copy_only=False).astype(str)
    shortcuts = (
        ask("File facts", file_facts(table, pictures), label, family),
        ask("Colour and brightness", color_facts(pictures), label, family),
    )
    of_class = (len(set(family[label == REAL])), len(set(family[label == FAKE])))
    source = table["source"].to_numpy(zero_copy_only=False).astype(str)
    sources = Sources.of(source, label)
    found = Audit(out, len(table), len(set(family)), of_class, sources, shortcuts, find_leaks(table))
    sections = [
        verdict(found, index),
        holdings(table, label, index),
        sizes(table, label, pictures),
        encodings(table, label, pictures),
        colors(label, pictures),
        spectra(pictures),
        examples(root, table, label),
        duplicates(found.leaks),
        rejected(root),
        method(index),
    ]
    # first: the rest is known by it as an audit's, should this process be killed in between
    with output_file(out / FACTS) as temporary:
        temporary.write_text(
            json.dumps(_facts(found, index), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    for section in sections:
        for caption, data in section.figures:
            with output_file(out / f"{_file_name(caption)}.png") as temporary:
                temporary.write_bytes(data)
    with output_file(out / PAGE) as temporary:
        temporary.write_text(html_page(f"Audit of {title}", sections), encoding="utf-8")
    return found


def _check_out(out: Path) -> None:
    """ValueError where somebody else's files might be replaced: pages or figures without an audit's facts."""
    for name in (FACTS, PAGE):
        check_file(out / name, f"{out / name}")
    taken = sorted(path.name for path in (*out.glob("*.png"), out / FACTS, out / PAGE) if path.exists())
    if taken and not _is_audit(out / FACTS):
        raise ValueError(
            f"{out} holds {taken[0]}, which dfd audit did not write. Give --out a folder of its own, such as "
            f"{out / 'audit'}."
        )


def _is_audit(facts: Path) -> bool:
    try:
        found = json.loads(facts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() >= {"images", "families", "shortcuts"}


def _facts(found: Audit, index: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": found.num_images,
        "families": found.num_families,
        "splits": index["splits"],
        "shortcuts": {
            shortcut.name: {
                # JSON knows no nan
                **{
                    name: None if np.isnan(value) else value
                    for name, value in (
                        ("auroc", shortcut.auroc),
                        ("low", shortcut.low),
                        ("high", shortcut.high),
                    )
                },
                "images": shortcut.num_images,
                "groups": shortcut.num_groups,
                "word": shortcut.word,
                "alone": {name: None if np.isnan(part) else part for name, part in shortcut.parts.items()},
            }
            for shortcut in found.shortcuts
        },
        "sources": {
            "both": found.sources.both,
            **{f"{name}_alone": found.sources.alone[kind] for kind, name in enumerate(LABELS)},
            "images_alone": found.sources.num_alone,
            "said": str(found.sources),
        },
        "leaks": dict(found.leaks.counts),
    }


def _file_name(caption: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in caption.lower()).split())[:60]
