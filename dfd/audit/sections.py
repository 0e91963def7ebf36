"""Sections of the audit's page: what the set holds, sizes, encodings, colours, spectra, examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dfd import __version__, plots
from dfd.audit.pictures import COLORS, SIDE, Pictures, column
from dfd.audit.shortcuts import FOLDS, MOST, TREES
from dfd.batch import FAKE, LABELS, REAL
from dfd.html import Section, png
from dfd.media.decode import decode
from dfd.shards.duplicates import Leaks
from dfd.shards.rejects import REJECTED, read_rejects
from dfd.shards.splits import SPLITS
from dfd.shards.table import read_bytes
from dfd.terminal import many

if TYPE_CHECKING:
    from dfd.audit.report import Audit

_EXAMPLES = 6  # pictures of a kind
_LISTED = 20  # lines of a table that name files or methods
_LONGEST = 1000  # letters of what index.json says of one thing


def verdict(found: Audit, index: dict[str, Any]) -> Section:
    words = {shortcut.word for shortcut in found.shortcuts}
    apart = str(found.sources)
    if found.sources.confounded:
        first = apart
    elif "giveaway" in words:
        first = (
            "This data gives its labels away without a forgery being looked at. Scores on it mean nothing "
            "until that is mended."
        )
    elif "shortcut" in words:
        first = (
            "A detector can do better than chance here without looking at a forgery. Read its scores beside "
            "the figures below."
        )
    elif found.leaks.crossing:
        first = "Related pictures lie in different splits: scores on this data are too good."
    elif words == {"not asked"}:
        first = (
            f"Too few to say whether anything gives the labels away: it takes {FOLDS} families of each "
            f"class, and the set has {found.families[REAL]} of reals and {found.families[FAKE]} of fakes."
        )
    elif found.sources.partly:
        first = apart
    elif "unclear" in words:
        first = "Nothing was found to give the labels away, but these are too few families to rule it out."
    else:
        first = "Nothing but the pictures themselves was found to give the labels away."
    worst = max(found.shortcuts, key=lambda shortcut: np.nan_to_num(shortcut.auroc))
    figures = [
        (
            f"{shortcut.name}: AUROC of each fact alone",
            png(plots.score_bars(shortcut.parts, f"{shortcut.name} (together {shortcut.auroc:.3f})")),
        )
        for shortcut in found.shortcuts
        if shortcut.parts
    ]
    bad = found.sources.confounded or found.leaks.crossing or worst.word in ("giveaway", "shortcut")
    more = [apart] if apart and apart != first else []
    text = [first, *more, *map(str, found.shortcuts), str(found.leaks)]
    if found.leaks.crossing and index.get("made_by", {}).get("allow_leaks"):
        text.append("The shards were prepared with --allow-leaks: the pairs above were known and kept.")
    mood = "" if words & {"unclear", "not asked"} or found.sources.partly else "good"
    return Section("Verdict", text, figures=figures, mood="bad" if bad else mood)


def holdings(table: pa.Table, label: np.ndarray, index: dict[str, Any]) -> Section:
    split, source, method = (_strings(table, name) for name in ("split", "source", "method"))
    family = _strings(table, "family")
    rows = []
    for name in SPLITS:
        counts = [int(((split == name) & (label == kind)).sum()) for kind in (REAL, FAKE)]
        rows.append((name, *counts, len(set(family[split == name]))))
    sources = _by_class(source, label)
    method = np.where(method == "", np.where(label == REAL, "(real)", "(unnamed)"), method)
    methods = _by_class(method, label)
    classes = {name: int((label == kind).sum()) for kind, name in enumerate(LABELS)}
    figures = [
        ("Classes", png(plots.shares(classes, "Classes"))),
        ("Images per source", png(plots.class_bars(sources, "Images per source"))),
        ("Images per method", png(plots.class_bars(methods, "Images per method"))),
    ]
    rejected = index.get("rejected", 0)
    held = (
        f"{many(index['images'], 'image')} in {many(index['families'], 'family')}, "
        f"{many(rejected, 'file')} rejected. The bytes of {many(len(index['shards']), 'shard')} are "
        "those that were written (SHA-256)."
    )
    made = [(name.replace("_", " "), _words(value)) for name, value in index.get("made_by", {}).items()]
    tables = [
        (("split", "real", "fake", "families"), rows),
        # in words too: no font has the letters of all scripts
        *((("source", "real", "fake"), _first_lines(sources)),) * (len(sources) > 1),
        *((("method", "real", "fake"), _first_lines(methods)),) * (len(methods) > 2),
        (("made by", ""), made),
    ]
    return Section("What it holds", [held], tables, figures)


def sizes(table: pa.Table, label: np.ndarray, pictures: Pictures) -> Section:
    width, height, length = (
        table[name].to_numpy().astype(np.float64) for name in ("width", "height", "length")
    )
    values = {"width, pixels": width, "height, pixels": height, "file size, bytes": length}
    more = values | {"bytes a pixel": length / (width * height)}
    log = tuple(more)
    figures = [
        ("Histograms of width, height and file size", png(plots.histograms(values, label, log=log))),
        ("Boxes of the same, with outliers", png(plots.boxes(more, label, log=log))),
    ]
    order = np.argsort(length / (width * height), kind="stable")
    outliers = [*order[:3], *order[-3:]] if len(order) >= 6 else order
    paths = _strings(table, "path")
    rows = [
        (
            paths[row],
            LABELS[label[row]],
            f"{width[row]:.0f}\u00a0x\u00a0{height[row]:.0f}",
            f"{length[row]:.0f}",
            f"{length[row] / (width[row] * height[row]):.3f}",
        )
        for row in outliers
    ]
    tables = [(("fewest and most bytes a pixel", "class", "pixels", "bytes", "bytes a pixel"), rows)]
    return Section("Sizes", [_medians(more, label)], tables, figures)


def encodings(table: pa.Table, label: np.ndarray, pictures: Pictures) -> Section:
    encoding = pictures.encoding
    kinds = {
        "format": _strings(table, "format"),
        "quantization table": column(encoding, "table"),
        "chroma subsampling": column(encoding, "subsampling"),
        "progressive": column(encoding, "progressive").astype(str),
        "EXIF": np.where(column(encoding, "exif"), "present", "absent"),
        "ICC profile": np.where(column(encoding, "icc"), "present", "absent"),
    }
    rows = [
        (kind, value, *counts)
        for kind, values in kinds.items()
        for value, counts in list(_by_class(values, label).items())[:_LISTED]
    ]
    quality = column(encoding, "quality").astype(np.float64)
    jpeg = quality > 0
    figures = []
    if jpeg.any():
        drawn = plots.histograms({"JPEG quality": quality[jpeg]}, label[jpeg])
        figures.append(("JPEG quality, nearest libjpeg setting", png(drawn)))
        counts = _by_class(kinds["quantization table"][jpeg], label[jpeg])
        shown = {
            f"{name}\nquality {_quality(encoding, name)}, {real} real, {fake} fake": pictures.tables[name][0]
            for name, (real, fake) in list(counts.items())[:8]
        }
        drawn = plots.quantization_tables(shown)
        figures.append(("Luminance quantization tables, the most frequent", png(drawn)))
    sets = f"{len(pictures.tables)} set{'s' * (len(pictures.tables) != 1)}"
    text = [f"{int(jpeg.sum())} of {len(label)} files are JPEGs, with {sets} of quantization tables."]
    return Section("Encoding", text, [(("fact", "value", "real", "fake"), rows)], figures)


def colors(label: np.ndarray, pictures: Pictures) -> Section:
    values = {name: pictures.color[:, at] for at, name in enumerate(COLORS)}
    halves = [dict(list(values.items())[:4]), dict(list(values.items())[4:])]
    figures = [
        (f"Violins of {', '.join(half)}, each in [0, 1]", png(plots.violins(half, label))) for half in halves
    ]
    note = (
        "dark, middle and bright are the 5%, 50% and 95% quantiles of luma; contrast is its standard "
        "deviation."
    )
    return Section("Colour and brightness", [note], figures=figures)


def spectra(pictures: Pictures) -> Section:
    left = int(len(pictures.encoding) - pictures.counted.sum())
    if not pictures.counted.any():
        return Section("Spectra", [f"None: all {left} images are smaller than the {SIDE} px square."])
    text = [
        "Lattices of bright points in the difference are what up-sampling leaves; an even tint is sharpness "
        "or compression."
        + (f" {left} images are smaller than the {SIDE} px square and are not in it." if left else "")
    ]
    drawn = plots.mean_spectra(pictures.spectrum, pictures.counted)
    return Section(
        "Spectra", text, figures=[("Mean spectra of real and fake, and their difference", png(drawn))]
    )


def examples(root: Path, table: pa.Table, label: np.ndarray) -> Section:
    # keys are hashes of the paths: the first are a fair draw, and the same in every run
    order = np.argsort(_strings(table, "key"), kind="stable")
    method, path = _strings(table, "method"), _strings(table, "path")
    rows = {kind: order[label[order] == kind][:_EXAMPLES] for kind in (REAL, FAKE)}
    pairs = [row for kind in (REAL, FAKE) for row in rows[kind]]
    figures = [("Real above, fake below", _grid(root, table, pairs, [LABELS[label[row]] for row in pairs]))]
    named = [name for name in np.unique(method[label == FAKE]) if name][:8]
    if len(named) > 1:
        shown = [row for name in named for row in order[(method[order] == name)][:_EXAMPLES]]
        figures.append(
            ("Example faces of each method", _grid(root, table, shown, [method[row] for row in shown]))
        )
    tables = [(("shown above", "class"), [(path[row], LABELS[label[row]]) for row in pairs])]
    return Section("Examples", tables=tables, figures=figures, figures_first=True)


def _grid(root: Path, table: pa.Table, rows: Sequence[int], captions: Sequence[str]) -> bytes:
    import cv2

    images = []
    for line in table.take(np.array(rows)).to_pylist():
        image = decode(read_bytes(root, line))
        scale = 160 / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        images.append(image)
    return png(plots.image_grid(images, captions, columns=_EXAMPLES))


def duplicates(leaks: Leaks) -> Section:
    rows = [
        (pair.kind, pair.one, pair.one_split, pair.other, pair.other_split) for pair in leaks.pairs[:_LISTED]
    ]
    tables = [(("kind", "picture", "split", "picture", "split"), rows)] if rows else []
    return Section("Duplicates and leaks", [str(leaks)], tables, mood="bad" if leaks.crossing else "good")


def rejected(root: Path) -> Section:
    lines = list(read_rejects(root).items())
    if not lines:
        return Section("Rejected files", ["None: every file that the reader found is in the shards."])
    reasons = Counter(reason for _, reason in lines)
    return Section(
        "Rejected files",
        [f"{len(lines)} files were left out; all are listed in {REJECTED} beside the shards."],
        [
            (("reason", "files"), reasons.most_common(_LISTED)),
            (("file", "reason"), lines[:_LISTED]),
        ],
    )


def method(index: dict[str, Any]) -> Section:
    return Section(
        "How this was measured",
        [
            f"Shortcuts: {TREES} extremely randomized trees, cross-validated in {FOLDS} folds that keep "
            f"families together, on at most {MOST} images of whole families; the interval is a bootstrap "
            "over families. A giveaway has a lower end above .9, a shortcut above .6, a hint above .5; else "
            "an upper end above .6 leaves the question open.",
            "Near duplicates: 256-bit perceptual hashes that differ in at most 31 bits. Mirrored or strongly "
            "cropped copies are not found.",
            f"dfd {__version__}; shards made {index.get('made', 'at an unknown time')}.",
        ],
    )


def _first_lines(counts: dict[str, tuple[int, int]]) -> list[tuple[str, int, int]]:
    """Lines of a table: the most frequent names, then how many others there are."""
    lines = [(plots.shortened(name, 80), *each) for name, each in counts.items()]
    if len(lines) <= _LISTED:
        return lines
    left = lines[_LISTED:]
    return [*lines[:_LISTED], (f"{len(left)} others", sum(x[1] for x in left), sum(x[2] for x in left))]


def _words(value: Any) -> str:
    """A value of index.json as text; of lists of facts, their number."""
    if isinstance(value, dict):
        text = ", ".join(f"{name.replace('_', ' ')} {_words(each)}" for name, each in value.items())
    elif isinstance(value, list) and all(isinstance(each, (str, int, float)) for each in value):
        text = ", ".join(map(str, value)) or "none"
    elif isinstance(value, list):
        text = f"{len(value)}, listed in index.json"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _medians(values: dict[str, np.ndarray], label: np.ndarray) -> str:
    present = [kind for kind in (REAL, FAKE) if (label == kind).any()]
    parts = []
    for name, value in values.items():
        medians = " and ".join(_rounded(np.median(value[label == kind])) for kind in present)
        parts.append(f"{name}: {medians}")
    return f"Medians of real and fake. {'; '.join(parts)}."


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _quality(encoding: Sequence, name: str) -> int:
    return next(each.quality for each in encoding if each.table == name)


def _by_class(values: np.ndarray, label: np.ndarray) -> dict[str, tuple[int, int]]:
    """Real and fake pictures of each value, the most frequent first."""
    names, place = np.unique(values, return_inverse=True)
    counts = [np.bincount(place[label == kind], minlength=len(names)) for kind in (REAL, FAKE)]
    order = np.argsort(-(counts[0] + counts[1]), kind="stable")
    return {str(names[at]): (int(counts[0][at]), int(counts[1][at])) for at in order}


def _strings(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False).astype(str)
