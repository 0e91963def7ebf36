"""Map of clusters with faces: places in two dimensions, the faces that fit there, a figure and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from dfd.audit.shortcuts import whole_families
from dfd.batch import FAKE, LABELS
from dfd.evaluate.classical.agreement import Agreement
from dfd.evaluate.plan import NamedRoot
from dfd.html import data_address, render
from dfd.media.crops import View
from dfd.media.encode import encode_jpeg
from dfd.plots import Figure, cluster_color, cluster_map

MOST = 1500  # pictures of the map: t-SNE takes seconds for these
FACE = 72  # side of a face on the page, in pixels as they are stored
ROOM = 0.042  # side of a face on the map, as a share of it
QUALITY = 80


@dataclass(frozen=True)
class Map:
    """Places of test pictures in two dimensions.

    Args:
        flat: tsne or pca.
        line: (M,) which of the test pictures.
        places: (M, 2) in [0, 1].
        drawn: those of `line` that have room for a face.
        typical: of each cluster the test pictures next to its centre, the next first.
        faces: by test picture: (FACE, FACE, 3) uint8, of those that are drawn or typical and can be decoded.
    """

    TYPICAL: ClassVar[int] = 10

    flat: str
    line: np.ndarray
    places: np.ndarray
    drawn: np.ndarray
    typical: Mapping[int, np.ndarray] = field(default_factory=dict)
    faces: Mapping[int, np.ndarray] = field(default_factory=dict)


def places_of(places: np.ndarray, family: np.ndarray, flat: str, seed: int = 0) -> Map:
    """Two dimensions of places (N, D); of many pictures some whole families.

    Args:
        flat: tsne or pca.
    """
    line = whole_families(family, np.random.default_rng(seed), MOST)
    two = _tsne(places[line], seed) if flat == "tsne" and len(line) > 3 else _principal(places[line])
    low, high = two.min(axis=0), two.max(axis=0)
    two = (two - low) / np.where(high > low, high - low, 1.0)
    return Map(flat, line, two, line[with_room(two, ROOM, seed)])


def with_room(places: np.ndarray, side: float, seed: int = 0) -> np.ndarray:
    """Those of places (M, 2) at which squares of a side do not touch, in order; drawn, so that no kind is
    preferred."""
    kept: list[int] = []
    for at in np.random.default_rng(seed).permutation(len(places)).tolist():
        if not kept or (np.abs(places[kept] - places[at]).max(axis=1) >= side).all():
            kept.append(at)
    return np.sort(np.array(kept, np.int64))


def thumbnails(root: NamedRoot, rows: Mapping[int, int]) -> dict[int, np.ndarray]:
    """Whole pictures (FACE, FACE, 3) uint8 of some rows of a root's split, by what each row is mapped to."""
    if not rows:
        return {}
    root.data.catalog.keep(root.split, np.array(sorted(rows), np.int64))
    root.data.view, root.data.corruption = View(FACE, longest=None, resize=True), []
    found = {}
    for batch in root.data.judging_dataloader(root.split):
        if batch["valid"].any():
            for row, crops in zip(batch["row"].tolist(), batch["image"].numpy(), strict=True):
                found[rows[row]] = crops[-1]
    return found


def draw(drawn: Map, facts: Mapping[str, np.ndarray], cluster: np.ndarray, num: int, title: str) -> Figure:
    """The map as a figure.

    Args:
        facts: of the test pictures, (N,) each.
        cluster: (N,) theirs.
    """
    line = drawn.line
    label = np.array([LABELS.index(each) for each in facts["label"][line].tolist()])
    shown = set(drawn.drawn.tolist())
    faces = {
        at: drawn.faces[each]
        for at, each in enumerate(line.tolist())
        if each in shown and each in drawn.faces
    }
    names = [_legend(number, facts["label"], cluster) for number in range(num)]
    return cluster_map(drawn.places, cluster[line], label, faces, ROOM, names, title)


def write_page(
    *,
    title: str,
    sentences: Sequence[str],
    agreements: Sequence[Agreement],
    drawn: Map,
    facts: Mapping[str, np.ndarray],
    cluster: np.ndarray,
    num: int,
    counts: Sequence[Mapping[str, int]],
    notes: Sequence[str],
) -> str:
    """The page as text: it needs no network and runs no script; check boxes and style sheet alone filter
    it."""
    sources = list(dict.fromkeys(facts["source"].tolist()))
    addresses = {at: data_address(encode_jpeg(face, QUALITY), "jpeg") for at, face in drawn.faces.items()}
    shown = set(drawn.drawn.tolist())

    def point(at: int, place: np.ndarray) -> dict[str, object]:
        return {
            "left": f"{100 * place[0]:.2f}",
            "top": f"{100 * (1 - place[1]):.2f}",
            "face": addresses.get(at, "") if at in shown else "",
            **_told(at),
        }

    def _told(at: int) -> dict[str, object]:
        about = [facts["key"][at], facts["source"][at], facts["label"][at]]
        about += [facts["method"][at]] if facts["method"][at] else []
        return {
            "cluster": int(cluster[at]),
            "label": str(facts["label"][at]),
            "source": sources.index(facts["source"][at]),
            "about": f"{', '.join(map(str, about))}; cluster {int(cluster[at])}",
        }

    points = [point(at, place) for at, place in zip(drawn.line.tolist(), drawn.places, strict=True)]
    points.sort(key=lambda each: bool(each["face"]))  # faces over dots
    clusters = []
    for number in range(num):
        mine = cluster == number
        named = Counter(facts["source"][mine].tolist()).most_common(4)
        typical = [
            {"face": addresses[at], **_told(at)} for at in drawn.typical.get(number, []) if at in addresses
        ]
        share = counts[number]["fake"] / counts[number]["test"] if counts[number]["test"] else None
        clusters.append(
            {
                "number": number,
                "color": cluster_color(number),
                "counts": counts[number],
                "share": "–" if share is None else f"{share:.0%}",
                "sources": ", ".join(f"{source} {count}" for source, count in named),
                "typical": typical,
            }
        )
    return render(
        "clusters.html.j2",
        title=title,
        sentences=sentences,
        rows=list(map(_row, agreements)),
        points=points,
        clusters=clusters,
        sources=[(number, source, cluster_color(number)) for number, source in enumerate(sources[:20])],
        notes=notes,
        num_faces=sum(bool(each["face"]) for each in points),
        room=f"{100 * ROOM:.2f}",
    )


def _row(found: Agreement) -> list[tuple[str, str]]:
    """Cells of the table: what is said, and below it smaller."""
    figures = [
        (
            in_thousandths(value),
            f"{' .. '.join(map(in_thousandths, found.ends[name]))}; chance "
            f"{in_thousandths(found.chance[name])}",
        )
        for name, value in found.metrics.items()
    ]
    more = f" and {len(found.values) - 6} more" if len(found.values) > 6 else ""
    values = ", ".join(found.values[:6]) + more
    return [(found.truth, values), *figures, (f"{found.num_images} / {found.num_families}", "")]


def in_thousandths(value: float) -> str:
    return f"{round(value, 3) + 0:.3f}"  # no "-0.000"


def _legend(number: int, label: np.ndarray, cluster: np.ndarray) -> str:
    mine = label[cluster == number]
    fakes = int((mine == LABELS[FAKE]).sum())
    return f"cluster {number}: {len(mine)} pictures, {fakes} fake"


def _tsne(places: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(places) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(places.astype(np.float32))


def _principal(places: np.ndarray) -> np.ndarray:
    """The first two of places that are principal components already."""
    return places[:, :2] if places.shape[1] > 1 else np.column_stack([places[:, 0], np.zeros(len(places))])
