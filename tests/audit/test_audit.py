import html
import io
import json
import os

import browser
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dfd.audit import audit
from dfd.audit.pictures import SIDE, read_pictures
from dfd.audit.shortcuts import FOLDS, ask, deal
from dfd.audit.sources import Sources
from dfd.cli import main
from dfd.prepare.pipeline import prepare
from dfd.shards.checksum import verify
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.splits import SPLITS
from dfd.shards.table import load_table

NUM = 120


def picture(seed: int, quality: int = 90, side: int = 64, tint: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 200, (8, 8, 3), dtype=np.uint8)).resize(
        (side, side), Image.BICUBIC
    )
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.add(rough, [tint, 0, 0], dtype=int), 0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=quality
    )
    return buffer.getvalue()


def made(root, **of_fakes):
    """Reals and fakes of one kind, except for what `of_fakes` says."""
    samples = [
        NewSample(
            f"s{at}",
            picture(at, **(of_fakes if at % 2 else {})),
            at % 2,
            SPLITS[at % 3],
            "drawn",
            "gan" if at % 2 else "",
        )
        for at in range(NUM)
    ]
    write_samples(samples, root, {"what": "test"})
    return root


@pytest.fixture
def few_trees(monkeypatch):
    """Small models for small sets: nearly all of an audit's time goes into trees."""
    monkeypatch.setattr("dfd.audit.shortcuts.TREES", 40)


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(
    ("of_fakes", "file", "color"),
    [
        ({}, "none", "none"),
        ({"quality": 60}, "giveaway", "none"),
        ({"side": 72}, "giveaway", "none"),
        ({"tint": 60}, "none", "giveaway"),
    ],
)
def test_each_shortcut_is_found_where_it_is_and_nowhere_else(tmp_path, of_fakes, file, color):
    found = audit(made(tmp_path / "set", **of_fakes), tmp_path / "out", workers=2)
    words = [shortcut.word for shortcut in found.shortcuts]
    # a random set beats chance one time in forty: a hint is allowed, an accusation is not
    for word, expected in zip(words, (file, color), strict=True):
        assert word == expected or (expected == "none" and word in ("hint", "unclear")), str(found)
    page = (tmp_path / "out" / "audit.html").read_text()
    assert ("gives its labels away" in page) == ("giveaway" in words)
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert facts["images"] == NUM and facts["shortcuts"]["File facts"]["word"] == words[0]
    if "quality" in of_fakes:
        assert facts["shortcuts"]["File facts"]["alone"]["JPEG quality"] > 0.99


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
def test_every_figure_is_on_the_page_and_beside_it(tmp_path, capsys):
    root = made(tmp_path / "set", side=SIDE + 8)
    assert main(["audit", str(root), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "File facts: AUROC" in said and "Leaks: none" in said and "audit.html" in said
    page = (tmp_path / "out" / "audit.html").read_text()
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    for needed in (
        "classes", "images-per-source", "images-per-method", "histograms-of-width", "boxes-of", "violins-of", "jpeg-quality",
        "luminance-quantization", "mean-spectra", "real-above-fake-below", "file-facts",
    ):  # fmt: skip
        assert any(needed in name for name in names), f"{needed} of {names}"
    assert page.count("data:image/png") == len(names)
    assert "60 images are smaller than the 128 px square" in page


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
def test_images_too_small_for_a_spectrum_give_a_sentence_and_no_black_figure(tmp_path):
    audit(made(tmp_path / "set"), tmp_path / "out", workers=1)
    page = (tmp_path / "out" / "audit.html").read_text()
    assert f"None: all {NUM} images are smaller than the 128 px square." in page
    assert not list((tmp_path / "out").glob("mean-spectra*"))


@pytest.mark.slow
@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_stands_in_a_browser(tmp_path, width):
    audit(made(tmp_path / "set", quality=60, side=SIDE + 8), tmp_path / "out", workers=1)
    page = tmp_path / "out" / "audit.html"
    seen = browser.look_at(page, tmp_path / "profile", width)
    assert seen.requests == [page.as_uri()] and not seen.complaints
    assert "This data gives its labels away" in seen.text and "Leaks: none between splits" in seen.text
    assert len(seen.images) == len(list((tmp_path / "out").glob("*.png"))) > 10
    assert all(caption and pixels > 0 for caption, pixels in seen.images)
    assert seen.overflow <= 0, "wide tables and figures scroll by themselves, the page does not"


@pytest.mark.slow
def test_pixels_are_those_of_the_shards_in_any_number_of_processes(tmp_path):
    root = made(tmp_path / "set", side=SIDE)
    table = load_table(root)
    seen = []
    one, two = (read_pictures(root, table, workers, seen.append) for workers in (1, 2))
    assert sum(seen) == 2 * NUM
    assert (
        one.encoding == two.encoding
        and (one.color == two.color).all()
        and one.counted.tolist() == [0, NUM // 2]
    )
    np.testing.assert_allclose(one.spectrum, two.spectrum)
    for row in (0, 7, NUM - 1):
        line = table.take([row]).to_pylist()[0]
        number = int(line["key"][1:])
        pixels = np.asarray(Image.open(io.BytesIO(picture(number, side=SIDE if number % 2 else 64)))) / 255
        np.testing.assert_allclose(one.color[row][:3], pixels.mean((0, 1)), atol=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
def test_leaks_that_were_allowed_are_said_to_be(tmp_path):
    for kind, name in enumerate(("real", "fake")):
        for split in ("train", "test"):
            folder = tmp_path / "source" / split / name
            folder.mkdir(parents=True)
            for at in range(30):
                (folder / f"{at}.jpg").write_bytes(picture(1000 * kind + at))  # the same in both splits
    prepare(tmp_path / "source", tmp_path / "set", workers=1, allow_leaks=True)
    found = audit(tmp_path / "set", tmp_path / "out", workers=1)
    assert found.leaks.counts["same bytes"] == 60
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "scores on this data are too good" in page and "prepared with --allow-leaks" in page


def test_an_audit_reads_every_shard_again(tmp_path, monkeypatch, capsys):
    """One bit of a picture, with the file's time as it was: training would not look again."""
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    root = made(tmp_path / "set")
    shard = root / "train-000000.tar"
    verify(shard, json.loads((root / "index.json").read_text())["shards"][1]["sha256"])
    times, data = shard.stat(), bytearray(shard.read_bytes())
    data[900] ^= 1
    shard.write_bytes(data)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert main(["audit", str(root), "--out", str(tmp_path / "out")]) == 1
    assert "train-000000.tar is damaged or was replaced" in capsys.readouterr().err


def test_leaks_between_splits_end_with_one(tmp_path, capsys):
    made(tmp_path / "apart")
    assert main(["leaks", str(tmp_path / "apart")]) == 0
    assert capsys.readouterr().out.startswith("Leaks: none between splits")
    # each picture in every split, at another quality
    twice = [
        NewSample(f"s{at}", picture(at // 3, 90 - at % 3), 0, SPLITS[at % 3], "drawn", "") for at in range(9)
    ]
    write_samples(twice, tmp_path / "together", {"what": "test"})
    assert main(["leaks", str(tmp_path / "together")]) == 1
    said = capsys.readouterr().out
    assert (
        said.startswith("Leaks: related pictures in different splits: near duplicate: ") and "(val)" in said
    )
    assert main(["leaks", str(tmp_path / "gone")]) == 1
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.slow
def test_families_are_kept_together_by_the_folds():
    """Facts that name the family, not the class: remembered, they would score 1."""
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(40), 10)
    label = np.repeat(rng.permutation(40) % 2, 10)
    asked = ask("File facts", {"which": rng.random(40)[family][:, None]}, label, family.astype(str))
    assert asked.word in ("none", "hint", "unclear") and asked.auroc < 0.75 and asked.num_groups == 40


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(any), min_size=5, max_size=60),
    st.integers(0, 9),
)
def test_folds_keep_families_whole_and_have_both_classes(families, seed):
    """Families of so many reals and fakes."""
    label = np.concatenate([np.repeat([0, 1], counts) for counts in families])
    group = np.repeat(np.arange(len(families)), [sum(counts) for counts in families]).astype(str)
    fold = deal(label, group, np.random.default_rng(seed))
    assert all(len(set(fold[group == name])) == 1 for name in set(group))
    for kind in (0, 1):
        if sum(counts[kind] > 0 for counts in families) >= FOLDS:
            assert set(fold[label == kind]) == set(range(FOLDS))


def test_folds_of_equal_families_are_equal():
    group = np.arange(1000).astype(str)
    fold = deal(np.arange(1000) % 2, group, np.random.default_rng(0))
    for kind in (0, 1):
        assert np.bincount(fold[kind::2]).tolist() == [100] * FOLDS


@pytest.mark.slow
def test_too_few_families_acquit_nobody():
    """The same chance-level fact on 12 and 24 families, some of which a model puts below chance, and on 2400."""
    for seed, families, word in (
        *((seed, 12, "unclear") for seed in range(4)),
        (1, 24, "unclear"),
        (1, 2400, "none"),
    ):
        rng = np.random.default_rng(seed)
        label = np.arange(families) % 2
        asked = ask(
            "File facts", {"noise": rng.random((families, 1))}, label, np.arange(families).astype(str)
        )
        assert asked.word == word, str(asked)
        assert ("cannot rule out an AUROC of" in str(asked)) == (word == "unclear")


def test_too_few_families_are_not_asked():
    asked = ask("File facts", {"x": np.eye(8)}, np.arange(8) % 2, np.arange(8).astype(str))
    assert np.isnan(asked.auroc) and asked.word == "not asked" and "not asked" in str(asked)


# names that matplotlib would read as mathematics, or has no letters for
NAMES = (
    r"$\foo$",
    "$^$",
    "$",
    "a$b$c",
    "$x^2$",
    "人物 العربية 😀",
    "_{",
    r"\frac",
    "%s {x}",
    "<b>&amp;",
    "x" * 3000,
)


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
@pytest.mark.filterwarnings("error")
def test_names_are_drawn_as_they_are(tmp_path):
    samples = [
        NewSample(f"s{at}", picture(at, side=140), at % 2, SPLITS[at % 3], name, name if at % 2 else "")
        for at, name in enumerate(name for name in NAMES for _ in range(2))
    ]
    write_samples(samples, tmp_path / "$a$ $^$", {"note": "$^$"})
    audit(tmp_path / "$a$ $^$", tmp_path / "out", workers=1)
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert all(html.escape(name) in page for name in NAMES[:-1]), "in words too"


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
def test_of_many_methods_the_most_frequent_are_named(tmp_path):
    samples = [
        NewSample(f"s{at}", picture(at % 4), 1, "test", "drawn", f"method {at if at > 9 else 0}")
        for at in range(60)
    ]
    write_samples(samples, tmp_path / "set", {})
    audit(tmp_path / "set", tmp_path / "out", workers=1)
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "method 0" in page and "31 others" in page and "method 59" not in page.partition("Examples")[0]
    height = Image.open(tmp_path / "out" / "images-per-method.png").height
    assert height < 1400


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(("real", "fake"), [(3, 3), (1, 0), (0, 30), (4, 40)])
def test_a_set_that_is_too_small_is_not_acquitted(tmp_path, real, fake):
    samples = [
        NewSample(f"s{at}", picture(at, side=140), int(at >= real), "test", "drawn")
        for at in range(real + fake)
    ]
    write_samples(samples, tmp_path / "set", {"lent": [], "of": [{"family": "0" * 64}] * 3})
    found = audit(tmp_path / "set", tmp_path / "out", workers=1)
    assert {shortcut.word for shortcut in found.shortcuts} == {"not asked"}
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "Too few to say whether anything gives the labels away: it takes 5 families of each class" in page
    assert f"the set has {real} of reals and {fake} of fakes" in page
    assert "Nothing but the pictures" not in page and "1 images" not in page and "1 families" not in page
    assert "0000" not in page.partition("data:image")[0] and "3, listed in index.json" in page
    facts = json.loads((tmp_path / "out" / "facts.json").read_text(), parse_constant=pytest.fail)
    assert facts["shortcuts"]["File facts"]["auroc"] is None
    assert "1 images" not in str(found) and "1 groups" not in str(found)


@pytest.mark.parametrize(("arguments", "says"), [(["--workers=0"], "workers=0"), ([], "no such folder")])
def test_bad_input_gets_one_error(tmp_path, capsys, arguments, says):
    root = tmp_path / "gone" if says == "no such folder" else made(tmp_path / "set")
    assert main(["audit", str(root), "--out", str(tmp_path / "out"), *arguments]) != 0
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error and len(error.splitlines()) <= 10


@pytest.mark.slow
def test_casia_cries_out(tmp_path, real_data):
    prepare(real_data / "casia1", tmp_path / "set")
    found = audit(tmp_path / "set", tmp_path / "out")
    files, _ = found.shortcuts
    assert files.word == "giveaway" and files.auroc > 0.95
    assert "gives its labels away" in (tmp_path / "out" / "audit.html").read_text()


@pytest.mark.slow
def test_140k_does_not(tmp_path, real_data):
    prepare(real_data / "140k-real-and-fake-faces", tmp_path / "set")
    found = audit(tmp_path / "set", tmp_path / "out")
    assert {shortcut.word for shortcut in found.shortcuts} <= {"none", "hint"}
    assert found.num_images == 3240


@pytest.mark.parametrize(
    ("held", "says", "lacks"),
    [
        # real, fake images of each source
        ({"a": (9, 9)}, [], ["apart"]),
        ({"a": (9, 0), "b": (9, 0)}, [], ["apart"]),  # one class: there is no label to tell
        ({"a": (9, 1), "b": (1, 9)}, [], ["apart"]),
        (
            {"photos": (9, 0), "gan": (0, 9)},
            [
                "cannot be told apart here: photos holds real images alone; gan holds fake images alone.",
                "says nothing about forgery",
                "add fake images of photos or real images of gan",
            ],
            ["figures on the others"],
        ),
        (
            {"a": (5, 5), "photos": (3, 0), "b": (0, 2), "c": (0, 1)},
            [
                "cannot be told apart for 6 of 16 images: photos holds real images alone; b and c hold fake images",
                "figures on the others apart (a holds both classes), or add fake images of photos or real images "
                "of b and c",
            ],
            ["says nothing"],
        ),
        (
            {"": (4, 0), "b\x1b[2J": (0, 4)},
            ["the unnamed source holds real", r"b\x1b[2J holds fake"],
            ["\x1b"],
        ),
        (
            {f"s{at}": (at % 2, (at + 1) % 2) for at in range(20)},
            ["s1, s11, s13, s15 and 6 more hold"],
            ["s17"],
        ),
    ],
)
def test_sources_of_one_class_are_told_with_what_to_add(held, says, lacks):
    source = np.concatenate([np.repeat(name, sum(counts)) for name, counts in held.items()])
    label = np.concatenate([np.repeat([0, 1], counts) for counts in held.values()])
    found = str(Sources.of(source, label))
    assert all(text in found for text in says) and not any(text in found for text in lacks), found
    assert bool(found) == bool(says)


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(("kind", "first_fakes"), [("bad", 0), ("", NUM // 2), ("good", NUM)])
def test_a_set_whose_sources_hold_one_class_is_not_called_clean(tmp_path, kind, first_fakes):
    """All pictures of one kind, so that no fact tells anything: what is wrong is where they come from. From
    some picture on, fakes have a source of their own.
    """
    samples = [
        NewSample(
            f"s{at}", picture(at), at % 2, SPLITS[at % 3], "gan" if at % 2 and at >= first_fakes else "photos"
        )
        for at in range(NUM)
    ]
    write_samples(samples, tmp_path / "set", {"what": "test"})
    found = audit(tmp_path / "set", tmp_path / "out", workers=1)
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())["sources"]
    assert "Nothing but the pictures" not in page or kind == "good"
    assert facts["said"] in str(found) and facts["said"] in html.unescape(page)
    if kind == "bad":
        assert found.sources.confounded and str(found).splitlines()[1].startswith("Source and label cannot")
        assert facts["real_alone"] == ["photos"] and facts["fake_alone"] == ["gan"] and not facts["both"]
        assert "Nothing was found" not in page
    elif kind == "good":
        assert not facts["said"] and "told apart" not in str(found)
    else:
        assert found.sources.partly and "for 30 of 120 images: gan holds fake" in str(found)
