"""Pictures with their clusters: as a table, and what the clusters have to do with what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dfd.batch import LABELS, REAL
from dfd.evaluate.classical.agreement import Agreement, agreement
from dfd.evaluate.classical.cluster_page import Map, in_thousandths
from dfd.evaluate.classical.clustering import WORDS, Clusters, Method
from dfd.evaluate.classical.features import Described
from dfd.evaluate.classical.splits import family_of
from dfd.evaluate.plan import NamedRoot

TRUTHS = ("label", "source", "method")
COLUMNS = ("key", "path", "root", "split", "source", "method", "label", "family", "cluster", "x", "y")


@dataclass(frozen=True)
class Clustered:
    """Pictures with their clusters: (M,) each, of all roots and splits, train first.

    Args:
        facts: the columns of the CSV file but for the last three, by name.
        values: (M, F) features.
        cluster: from 0, the largest of train first.
        row: of the root's table.
    """

    facts: dict[str, np.ndarray]
    values: np.ndarray
    cluster: np.ndarray
    row: np.ndarray

    def of(self, split: str) -> np.ndarray:
        """Places of the pictures of a split."""
        return np.flatnonzero(self.facts["split"] == split)


def clustered(found: Mapping[str, list[tuple[NamedRoot, Described]]], clusters: Clusters) -> Clustered:
    """All pictures whose features are finite."""
    facts, values, rows = [], [], []
    for pairs in found.values():
        for root, described in pairs:
            finite = np.isfinite(described.values).all(axis=1) if len(described.row) else np.zeros(0, bool)
            row = described.row[finite]
            told = root.data.describe(row)
            label = np.array(LABELS)[root.data.contents.label[row].astype(np.int64)]
            kept = {each: told[each] for each in ("key", "path", "split", "source", "method")}
            facts.append(
                {
                    **kept,
                    "root": np.full(len(row), root.name),
                    "label": label,
                    "family": family_of(root, told["family"]),
                }
            )
            rows.append(row)
            if len(row):
                values.append(described.values[finite])
    joined = np.concatenate(values)
    columns = {each: np.concatenate([part[each] for part in facts]) for each in facts[0]}
    return Clustered(columns, joined, clusters.assign(clusters.space(joined)), np.concatenate(rows))


def compared(pictures: Clustered) -> list[Agreement]:
    """How far the clusters of the test pictures agree with label, source and method."""
    test = pictures.of("test")
    facts = {name: pictures.facts[name][test] for name in (*TRUTHS, "family")}
    facts["method"] = np.where(facts["label"] == LABELS[REAL], LABELS[REAL], facts["method"])
    return [
        found
        for truth in TRUTHS
        if (found := agreement(truth, pictures.cluster[test], facts[truth], facts["family"]))
    ]


def found_in_words(clusters: Clusters, method: Method, pictures: Clustered) -> str:
    """What was found, in words."""
    how = "as asked" if not clusters.tried else f"the number with the best {score_name(method)}"
    return (
        f"{clusters.num} clusters by {WORDS[method]} ({how}), found without labels in "
        f"{len(pictures.of('train'))} pictures of train; what follows is of {len(pictures.of('test'))} "
        "pictures of test"
    )


def figures(found: Agreement) -> str:
    """The metrics of an agreement in a line."""
    parts = [
        f"{'purity' if metric == 'purity' else metric.upper()} {in_thousandths(value)} "
        f"({' .. '.join(map(in_thousandths, found.ends[metric]))}; by chance "
        f"{in_thousandths(found.chance[metric])})"
        for metric, value in found.metrics.items()
    ]
    return f"{', '.join(parts)}, {found.num_families} families"


def in_words(found: Agreement) -> str:
    """Whether clusters follow what is known of the pictures, by the interval of the ARI."""
    low, value = found.ends["ari"][0], found.metrics["ari"]
    what = {"label": "real and fake", "source": "the sources", "method": "the methods"}[found.truth]
    if not low > 0:
        return f"the clusters are not shown to follow {what}"
    strength = "closely" if low > 0.6 else "in part" if low > 0.2 else "faintly"
    return f"the clusters follow {what} {strength} (ARI {value:.2f})"


def score_name(method: Method) -> str:
    """Of what chooses the number of clusters."""
    return "silhouette" if method == "kmeans" else "BIC"


def csv_lines(pictures: Clustered, drawn: Map) -> Iterator[list[object]]:
    """A line of COLUMNS for each picture; x and y where it is on the map."""
    test = pictures.of("test")
    at = {int(test[line]): place for line, place in zip(drawn.line, drawn.places, strict=True)}
    columns = [pictures.facts[each].tolist() for each in COLUMNS[:-3]]
    for line, known in enumerate(zip(*columns, strict=True)):
        place = [f"{each:.4f}" for each in at[line]] if line in at else ["", ""]
        yield [*known, int(pictures.cluster[line]), *place]


def counts_of(pictures: Clustered, num: int) -> list[dict[str, int]]:
    """Pictures of each cluster by split, and real and fake ones of test."""
    split, label = pictures.facts["split"], pictures.facts["label"]
    return [
        {
            **{each: int((mine & (split == each)).sum()) for each in ("train", "val", "test")},
            **{each: int((mine & (split == "test") & (label == each)).sum()) for each in LABELS},
        }
        for mine in (pictures.cluster == number for number in range(num))
    ]
