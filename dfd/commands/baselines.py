"""Verbs that need no training of a net: baseline, cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def baseline(
    *shards: str,
    on: str,
    out: Path,
    model: Literal["logistic", "svm"] | None = None,
    judge: tuple[str, ...] = (),
    conditions: str | None = None,
    size: int | None = None,
    components: int | None = None,
    checkpoint: Path | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
    name: str | None = None,
    workers: int = 2,
    device: str = "cpu",
    batch_size: int = 32,
    allow: tuple[str, ...] = (),
) -> None:
    """What a shallow model of simple features reaches: fitted on train, chosen and calibrated on val, judged
    on test, in the tables of nets.

    OUT is a grid, as of dfd evaluate: dfd report and dfd compare take it. Where OUT is the grid of dfd
    evaluate already, the baseline joins its detectors. A model of metadata, or of cues that does no better
    than metadata alone, is named a shortcut.

    Args:
        shards: Folders of finished shards to learn from, and whose test split is judged; NAME=FOLDER gives
            one another name.
        on: What the model sees: pixels (the whole picture, small), spectrum (its azimuthal profile), cues (of
            dfd cues), metadata (those cues that say how the file was written) or embeddings (of a frozen
            net).
        out: Folder of the results: new, or a grid.
        model: logistic (regression) or svm (RBF kernel); by default svm for pixels, logistic for the others.
        judge: Further shards that are only judged: other sources.
        conditions: As of dfd evaluate; by default pictures are judged as found alone.
        size: Side in pixels: of the whole picture for pixels (64), of a crop for spectrum and backbone (128).
        components: Principal components that the model sees instead of all features; by default 128 of
            pixels.
        checkpoint: Net of the embeddings: file that dfd fit wrote.
        backbone: Net of the embeddings: timm's name, such as mobilenetv2_100.
        weights: File of the backbone's weights; by default those of the hub or its cache.
        name: Of the baseline in tables; by default FEATURES-MODEL.
        workers: Decoding processes; 0 decodes in this one.
        device: Where a net of embeddings runs, as torch names it.
        batch_size: Pictures that are described at once.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
    """
    from dfd.evaluate.classical.baseline import baseline
    from dfd.evaluate.classical.features import features_named

    features = features_named(
        on,
        size=size,
        components=components,
        checkpoint=checkpoint,
        backbone=backbone,
        weights=weights,
        device=device,
        allow=("dfd.", *allow),
    )
    baseline(
        shards,
        features,
        out,
        model=model,
        judge=judge,
        conditions=conditions,
        name=name,
        batch_size=batch_size,
        workers=workers,
    )


def cluster(
    *shards: str,
    on: str,
    out: Path,
    method: Literal["kmeans", "gmm"] = "kmeans",
    k: int | None = None,
    map: Literal["tsne", "pca"] = "tsne",
    size: int | None = None,
    components: int | None = None,
    checkpoint: Path | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
    name: str | None = None,
    workers: int = 2,
    device: str = "cpu",
    batch_size: int = 32,
    allow: tuple[str, ...] = (),
) -> None:
    """Which parts pictures fall into by themselves, and whether these have to do with real and fake, sources
    and methods.

    Clusters are found in the train split without labels, and compared with them on test: NMI, ARI and purity
    with 95% intervals. OUT/clusters gets a page with a map of faces, the map as a picture, and the cluster of
    each picture as CSV. OUT is a grid, as of dfd evaluate and dfd baseline: the clusters stand in it as a
    detector that knows which share of each is fake.

    Args:
        shards: Folders of finished shards; NAME=FOLDER gives one another name.
        on: Where pictures lie near one another: pixels, spectrum, cues, metadata or embeddings, as of dfd
            baseline; embeddings of an autoencoder are its code.
        out: Folder of the results: new, or a grid.
        method: kmeans, or gmm: a mixture of Gaussians.
        k: How many clusters; by default 2 to 10, by silhouette (kmeans) or BIC (gmm).
        map: How the map's two dimensions are found.
        size: As of dfd baseline.
        components: Principal components in which clusters are looked for; by default 32.
        checkpoint: Net of the embeddings: file that dfd fit wrote, of a detector or an autoencoder.
        backbone: Net of the embeddings: timm's name, such as mobilenetv2_100.
        weights: File of the backbone's weights; by default those of the hub or its cache.
        name: Of the clustering in tables; by default FEATURES-METHOD.
        workers: Decoding processes; 0 decodes in this one.
        device: Where a net of embeddings runs, as torch names it.
        batch_size: Pictures that are described at once.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package; on PYTHONPATH.
    """
    from dfd.evaluate.classical.cluster import cluster
    from dfd.evaluate.classical.features import features_named

    features = features_named(
        on,
        size=size,
        checkpoint=checkpoint,
        backbone=backbone,
        weights=weights,
        device=device,
        allow=("dfd.", *allow),
    )
    cluster(
        shards,
        features,
        out,
        method=method,
        num=k,
        name=name,
        components=components,
        flat=map,
        batch_size=batch_size,
        workers=workers,
    )


VERBS = (baseline, cluster)
