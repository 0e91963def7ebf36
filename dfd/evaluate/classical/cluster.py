"""Clusterings: what parts pictures fall into by themselves, and whether these have to do with real and fake.

Clusters are found in the train split from features alone; labels, sources and methods are compared with them
afterwards. As a detector a cluster says of its pictures what share of its val pictures is fake.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import logit as log_odds

from dfd.batch import FAKE, LABELS, REAL
from dfd.durable import explain_os_error
from dfd.evaluate.classical.agreement import Agreement, agreement
from dfd.evaluate.classical.cells import ShallowDetector, calibrated, described_in_grid, write_cell
from dfd.evaluate.classical.cluster_page import Map, draw, places_of, thumbnails, write_page
from dfd.evaluate.classical.clustering import COMPONENTS, WORDS, Clusters, Method, find_clusters
from dfd.evaluate.classical.features import AS_FOUND, Described, Features
from dfd.evaluate.classical.models import FEWEST
from dfd.evaluate.classical.splits import Splits, family_of, open_splits
from dfd.evaluate.folder import check_out
from dfd.evaluate.names import NAME, named, root_name
from dfd.evaluate.plan import NamedRoot, cell_file
from dfd.evaluate.provenance import join_record
from dfd.evaluate.screen import show
from dfd.evaluate.tidy import write_metrics
from dfd.html import png
from dfd.outputs import output_file
from dfd.progress import progress
from dfd.terminal import printable

FOLDER = "clusters"  # of a grid
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


@dataclass(frozen=True)
class Clustering:
    """What `dfd cluster` found.

    Args:
        agreements: with label, source and method of the test pictures, where these differ.
        detector: the clusters as a detector; None where val has too few of a class to make one.
    """

    name: str
    clusters: Clusters
    pictures: Clustered
    agreements: list[Agreement]
    detector: ShallowDetector | None
    page: Path


def cluster(
    shards: Sequence[str],
    features: Features,
    out: Path,
    *,
    method: Method = "kmeans",
    num: int | None = None,
    name: str | None = None,
    components: int | None = None,
    flat: str = "tsne",
    batch_size: int = 32,
    workers: int = 2,
) -> Clustering:
    """Finds clusters in the train split, assigns val and test to them, and writes what they have to do with
    label,
    source and method: OUT/clusters/NAME.html, .png and .csv.

    Args:
        shards: folders of finished shards, or "NAME=FOLDER".
        features: see `features_named`.
        out: folder of a grid: new, or that of `dfd evaluate` or `dfd baseline`, which it joins.
        num: how many clusters; None lets the pictures decide, see `find_clusters`.
        name: of the clustering in tables; by default that of features and method.
        components: principal components in which clusters are looked for; by default 32.
        flat: tsne or pca: how the map's two dimensions are found.

    Raises:
        ValueError: something is wrong with what was named; says what.
    """
    name = name or f"{features.name}-{method}"
    if not NAME.fullmatch(name):
        raise ValueError(f"--name {name!r}: a name has letters, digits, _, . and - alone, such as kmeans5.")
    folders = named(shards, "root", root_name)
    check_out(out, folders.values())
    splits = open_splits(shards, [], features, batch_size=batch_size, workers=workers, both_classes=False)
    total = splits.num_to_learn + sum(len(root.rows) for root in splits.test)
    try:
        with progress(total, "pictures") as advance:
            found = {split: splits.describe(features, split, advance) for split in ("train", "val")}
            train, _ = splits.together("train", found["train"])
            clusters = find_clusters(train.values, method, num, components or COMPONENTS)
            detector = _detector(name, method, features, clusters, splits, found["val"])
            files = [cell_file(name, root.name, AS_FOUND) for root in splits.test]
            join_record(out, detector and detector.facts(), splits.test, [AS_FOUND], files, "test")
            found["test"] = [
                (root, described_in_grid(out, features, root, AS_FOUND, advance)) for root in splits.test
            ]
        if detector is not None:
            for root, described in found["test"]:
                write_cell(out, detector, root, AS_FOUND, detector.judge(root, described))
        pictures = _clustered(found, clusters)
        agreements = compared(pictures)
        drawn = _map(pictures, clusters, splits, flat)
        page = _write(out, name, features, method, clusters, pictures, agreements, drawn, detector, splits)
        if detector is not None:
            show(out, write_metrics(out, workers), None)
    except OSError as error:
        raise explain_os_error(error, out) from error
    for sentence in sentences(name, clusters, method, pictures, agreements):
        print(printable(sentence, keep=""))
    print(f"map: {page}, beside it a picture and the cluster of each picture as CSV")
    return Clustering(name, clusters, pictures, agreements, detector, page)


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


def sentences(
    name: str, clusters: Clusters, method: Method, pictures: Clustered, agreements: Sequence[Agreement]
) -> list[str]:
    """What was found, in words: the clusters first, then each agreement."""
    how = "as asked" if not clusters.tried else f"the number with the best {_score_name(method)}"
    test = pictures.of("test")
    lines = [
        f"{name}: {clusters.num} clusters by {WORDS[method]} ({how}), found without labels in "
        f"{len(pictures.of('train'))} pictures of train; what follows is of {len(test)} pictures of test"
    ]
    for each in agreements:
        figures = ", ".join(
            f"{metric.upper() if metric != 'purity' else metric} {value:.3f} "
            f"({each.ends[metric][0]:.3f} .. {each.ends[metric][1]:.3f}; by chance {each.chance[metric]:.3f})"
            for metric, value in each.metrics.items()
        )
        lines.append(f"{in_words(each)}: {figures}, {each.num_families} families")
    known = {each.truth for each in agreements}
    lines += [f"{truth}: the same for all test pictures" for truth in TRUTHS if truth not in known]
    return lines


def in_words(found: Agreement) -> str:
    """Whether clusters follow what is known of the pictures, by the interval of the ARI."""
    low, value = found.ends["ari"][0], found.metrics["ari"]
    what = {"label": "real and fake", "source": "the sources", "method": "the methods"}[found.truth]
    if not low > 0:
        return f"the clusters are not shown to follow {what}"
    strength = "closely" if low > 0.6 else "in part" if low > 0.2 else "faintly"
    return f"the clusters follow {what} {strength} (ARI {value:.2f})"


def _score_name(method: Method) -> str:
    return "silhouette" if method == "kmeans" else "BIC"


def _detector(
    name: str,
    method: Method,
    features: Features,
    clusters: Clusters,
    splits: Splits,
    found: Sequence[tuple[NamedRoot, Described]],
) -> ShallowDetector | None:
    """The clusters as a detector: log odds of the fakes among a cluster's val pictures, by Laplace's rule."""
    val, table = splits.together("val", found)
    if not val.enough:
        return None
    of = clusters.assign(clusters.space(val.values))
    fakes = np.bincount(of[val.label == FAKE], minlength=clusters.num)
    share = (fakes + 1) / (np.bincount(of, minlength=clusters.num) + 2)

    def model(values: np.ndarray) -> np.ndarray:
        return log_odds(share)[clusters.assign(clusters.space(values))]

    return calibrated(
        name,
        f"share of fakes in each of {clusters.num} clusters ({WORDS[method]}) of {features.title}",
        features,
        model,
        replace(table, logit=model(val.values)),
        splits,
        selected_on="none: clusters are found without labels (share of fakes from split: val)",
        made_of={"clusters": method, "num": clusters.num},
    )


def _clustered(found: dict[str, list[tuple[NamedRoot, Described]]], clusters: Clusters) -> Clustered:
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


def _map(pictures: Clustered, clusters: Clusters, splits: Splits, flat: str) -> Map:
    """The map of the test pictures, with the faces that have room on it and the most typical of each "
    "cluster."""
    test = pictures.of("test")
    family = pictures.facts["family"][test]
    places = clusters.space(pictures.values[test])
    shown = places_of(places, family, flat)
    far = clusters.far(places)
    typical = {}
    for number in range(clusters.num):
        mine = np.flatnonzero(pictures.cluster[test] == number)
        typical[number] = mine[np.argsort(far[mine, number], kind="stable")[: Map.TYPICAL]]
    wanted = np.unique(np.concatenate([shown.drawn, *typical.values()]))
    rows = {
        root.name: {
            int(pictures.row[test[at]]): int(at)
            for at in wanted
            if pictures.facts["root"][test[at]] == root.name
        }
        for root in splits.test
    }
    faces = {}
    for root in splits.test:
        faces |= thumbnails(root, rows[root.name])
    return replace(shown, typical=typical, faces=faces)


def _write(
    out: Path,
    name: str,
    features: Features,
    method: Method,
    clusters: Clusters,
    pictures: Clustered,
    agreements: Sequence[Agreement],
    drawn: Map,
    detector: ShallowDetector | None,
    splits: Splits,
) -> Path:
    """The CSV file, the picture and the page; returns the page."""
    folder = out / FOLDER
    test = pictures.of("test")
    lines = _lines(pictures, drawn)
    with (
        output_file(folder / f"{name}.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(lines)
    facts = {each: pictures.facts[each][test] for each in pictures.facts}
    title = f"{clusters.num} clusters of {features.title}"
    figure = draw(
        drawn,
        facts,
        pictures.cluster[test],
        clusters.num,
        f"{title}: {', '.join(r.name for r in splits.test)}, test",
    )
    with output_file(folder / f"{name}.png") as temporary:
        temporary.write_bytes(png(figure))
    page = folder / f"{name}.html"
    text = write_page(
        title=f"{name}: {title}",
        sentences=sentences(name, clusters, method, pictures, agreements),
        agreements=agreements,
        drawn=drawn,
        facts=facts,
        cluster=pictures.cluster[test],
        num=clusters.num,
        counts=_counts(pictures, clusters.num),
        notes=_notes(features, method, clusters, detector, drawn),
    )
    with output_file(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


def _lines(pictures: Clustered, drawn: Map) -> list[list[object]]:
    test = pictures.of("test")
    at = {int(test[line]): place for line, place in zip(drawn.line, drawn.places, strict=True)}
    columns = [pictures.facts[each].tolist() for each in COLUMNS[:-3]]
    found = []
    for line, known in enumerate(zip(*columns, strict=True)):
        place = [f"{each:.4f}" for each in at[line]] if line in at else ["", ""]
        found.append([*known, int(pictures.cluster[line]), *place])
    return found


def _counts(pictures: Clustered, num: int) -> list[dict[str, int]]:
    """Pictures of each cluster by split, and real and fake ones of test."""
    split, label = pictures.facts["split"], pictures.facts["label"]
    return [
        {
            **{each: int((mine & (split == each)).sum()) for each in ("train", "val", "test")},
            **{each: int((mine & (split == "test") & (label == each)).sum()) for each in LABELS},
        }
        for mine in (pictures.cluster == number for number in range(num))
    ]


def _notes(
    features: Features, method: Method, clusters: Clusters, detector: ShallowDetector | None, drawn: Map
) -> list[str]:
    notes = []
    if features.knows_labels:
        notes.append(
            "The net behind these embeddings was trained to tell real from fake, so these clusters are not "
            "free of labels: they show what the net has learnt."
        )
    if clusters.tried:
        scores = ", ".join(
            f"{num}: {score:.3f}" if method == "kmeans" else f"{num}: {score:.0f}"
            for num, score in clusters.tried.items()
        )
        notes.append(f"{_score_name(method).capitalize()} by number of clusters: {scores}.")
    if detector is None:
        notes.append(
            f"As a detector the clusters were not judged: val has fewer than {FEWEST} pictures of one class."
        )
    if drawn.flat == "tsne":
        notes.append(
            "The map is a t-SNE (van der Maaten & Hinton 2008): neighbours on it are alike; how far apart "
            "groups lie, and how large they look, means little. Clusters were found in more dimensions than "
            "it shows."
        )
    else:
        notes.append("The map shows the first two principal components; clusters were found in more of them.")
    return notes
