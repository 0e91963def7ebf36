"""Clusters of pictures: found without labels, compared with them, drawn with faces."""

import csv
import json

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from dfd.evaluate.classical.agreement import METRICS, agreement
from dfd.evaluate.classical.cluster import cluster
from dfd.evaluate.classical.cluster_page import with_room
from dfd.evaluate.classical.cluster_table import in_words
from dfd.evaluate.classical.clustering import find_clusters
from dfd.evaluate.classical.features import features_named
from dfd.evaluate.tidy import read_metrics


def groups(num: int, apart: float = 8.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (num, 6) of three groups, the first half of them in group 0."""
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1, 2], [num // 2, num // 4, num - num // 2 - num // 4])
    values = rng.standard_normal((num, 6))
    values[np.arange(num), group] += apart
    return values, group


def test_nmi_ari_and_purity_are_those_of_a_second_implementation():
    rng = np.random.default_rng(0)
    for clusters, values in ((3, 2), (2, 4), (5, 5)):
        cluster, value = rng.integers(clusters, size=80), rng.integers(values, size=80)
        cluster[:40] = value[:40] % clusters
        table = np.zeros((1, clusters, values))
        np.add.at(table[0], (cluster, value), 1)
        found = {name: metric(table)[0] for name, metric in METRICS.items()}
        majority = sum(max(np.sum(value[cluster == k] == c) for c in range(values)) for k in range(clusters))
        assert found["nmi"] == pytest.approx(normalized_mutual_info_score(value, cluster))
        assert found["ari"] == pytest.approx(adjusted_rand_score(value, cluster))
        assert found["purity"] == pytest.approx(majority / 80)


def test_an_interval_widens_with_families_and_chance_is_named_chance():
    rng = np.random.default_rng(0)
    value = np.repeat([0, 1], 100)
    cluster = np.where(rng.random(200) < 0.85, value, 1 - value)
    alone = agreement("label", cluster, value, np.arange(200).astype(str))
    tens = agreement("label", cluster, value, (np.arange(200) // 10).astype(str))
    for name in METRICS:
        low, high = alone.ends[name]
        assert low < alone.metrics[name] == tens.metrics[name] < high
        assert alone.chance[name] < low
    assert tens.num_families == 20 and tens.ends["ari"][0] != alone.ends["ari"][0]
    assert "follow real and fake" in in_words(alone)
    nothing = agreement("label", rng.permutation(cluster), value, np.arange(200).astype(str))
    assert in_words(nothing) == "the clusters are not shown to follow real and fake"
    assert agreement("source", cluster, np.full(200, "lab"), value.astype(str)) is None


@pytest.mark.parametrize(("method", "num"), [("kmeans", None), ("gmm", 3)])
def test_groups_are_found_and_counted_without_being_told(method, num):
    values, _ = groups(100)
    found = find_clusters(values, method, num)
    assert found.num == 3 and set(found.tried) == (set() if num else set(range(2, 11)))
    others, truth = groups(90, seed=1)
    cluster = found.assign(found.space(others))
    assert adjusted_rand_score(truth, cluster) == 1
    assert np.bincount(found.assign(found.space(values)))[0] == 50  # the largest comes first
    assert (found.far(found.space(others)).argmin(axis=1) == cluster).all()


def test_k_means_is_sklearns_and_more_clusters_than_pictures_are_refused():
    values, _ = groups(60, apart=1.0)
    found = find_clusters(values, "kmeans", 4, components=3)
    places = found.space(values)
    again = KMeans(4, n_init=10, random_state=0).fit_predict(places)
    assert adjusted_rand_score(again, found.assign(places)) == 1
    for num in (1, 31):
        with pytest.raises(ValueError, match=rf"--k {num}: of 60 pictures.* 2 to 30"):
            find_clusters(values, "kmeans", num)


def test_faces_on_the_map_do_not_lie_over_one_another():
    places = np.random.default_rng(0).random((300, 2))
    kept = places[with_room(places, 0.1)]
    apart = np.abs(kept[:, None] - kept[None]).max(axis=2) + np.eye(len(kept))
    assert 30 < len(kept) < 120 and apart.min() >= 0.1


@pytest.mark.slow
def test_labels_change_nothing_but_what_clusters_are_compared_with(shards_of, tmp_path, capsys):
    spectrum = features_named("spectrum", size=32)
    clusters = {}
    for flip in (False, True):
        root = shards_of(f"blurred{flip}", blurred=True, flip=flip)
        out = tmp_path / f"out{flip}"
        found = cluster([f"lab={root}"], spectrum, out, num=2, workers=0)
        with (out / "clusters/spectrum-kmeans.csv").open(newline="", encoding="utf-8") as file:
            clusters[flip] = {line["key"]: line["cluster"] for line in csv.DictReader(file)}
        label, method = found.agreements
        assert (label.truth, method.truth) == ("label", "method")
        assert label.metrics == pytest.approx({"nmi": 1, "ari": 1, "purity": 1}) and label.num_images == 30
        # as a detector the clusters are judged like a net
        (line,) = [each for each in read_metrics(out).to_pylist() if each["part"] == "all"]
        assert line["auroc"] == 1 and line["detector"] == "spectrum-kmeans"
    assert clusters[False] == clusters[True] and len(clusters[True]) == 84
    assert "the clusters follow real and fake closely" in capsys.readouterr().out
    page = found.page.read_text(encoding="utf-8")
    assert page.count('<span class="face') + page.count('<i class="point') == 30
    assert 'src="data:image/jpeg' in page and "<script" not in page and "http" not in page.split("<body>")[1]
    assert (out / "clusters/spectrum-kmeans.png").read_bytes().startswith(b"\x89PNG")

    # pictures of one class can be parted, and make no detector
    only = shards_of("only_fakes", labels=(1,))
    found = cluster([str(only)], spectrum, tmp_path / "one", method="gmm", num=2, flat="pca", workers=0)
    assert found.detector is None and not found.agreements
    assert not json.loads((tmp_path / "one/grid.json").read_text())["cells"]
