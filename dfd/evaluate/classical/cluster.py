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

from dfd.batch import FAKE
from dfd.durable import explain_os_error
from dfd.evaluate.classical.agreement import Agreement
from dfd.evaluate.classical.cells import ShallowDetector, calibrated, described_in_grid, write_cell
from dfd.evaluate.classical.cluster_page import (
    Map,
    draw,
    places_of,
    thumbnails,
    write_page,
)
from dfd.evaluate.classical.cluster_table import (
    COLUMNS,
    Clustered,
    clustered,
    compared,
    counts_of,
    csv_lines,
    figures,
    found_in_words,
    in_words,
    score_name,
)
from dfd.evaluate.classical.clustering import COMPONENTS, WORDS, Clusters, Method, find_clusters
from dfd.evaluate.classical.features import AS_FOUND, Described, Features
from dfd.evaluate.classical.models import FEWEST
from dfd.evaluate.classical.splits import Splits, open_splits
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
    label, source and method: OUT/clusters/NAME.html, .png and .csv.

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
    if components is not None and components < 1:
        raise ValueError(f"--components {components}: at least one, such as 32.")
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
        pictures = clustered(found, clusters)
        if not len(pictures.of("test")):
            raise ValueError("no picture of the test split can be decoded: `dfd audit` lists what is wrong.")
        agreements = compared(pictures)
        drawn = _map(pictures, clusters, splits, flat)
        page = _write(out, name, features, method, clusters, pictures, agreements, drawn, detector, splits)
        if detector is not None:
            show(out, write_metrics(out, workers), None)
    except OSError as error:
        raise explain_os_error(error, out) from error
    print(f"{name}: {found_in_words(clusters, method, pictures)}")
    for each in agreements:
        print(printable(f"{in_words(each)}: {figures(each)}", keep=""))
    print(f"map: {page}, beside it a picture and the cluster of each picture as CSV")
    return Clustering(name, clusters, pictures, agreements, detector, page)


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


def _map(pictures: Clustered, clusters: Clusters, splits: Splits, flat: str) -> Map:
    """The map of the test pictures, with the faces that have room and the most typical of each cluster."""
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
    lines = csv_lines(pictures, drawn)
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
        sentences=[found_in_words(clusters, method, pictures), *map(in_words, agreements)],
        agreements=agreements,
        drawn=drawn,
        facts=facts,
        cluster=pictures.cluster[test],
        num=clusters.num,
        counts=counts_of(pictures, clusters.num),
        notes=_notes(features, method, clusters, detector, drawn),
    )
    with output_file(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


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
        notes.append(f"{score_name(method).capitalize()} by number of clusters: {scores}.")
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
