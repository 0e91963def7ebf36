"""`dfd ensemble`: one checkpoint out of several, which judges, is exported, explained and attacked as any other."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from grid_shards import CALIBRATED, VIEW, samples
from small_nets import Bright

import dfd
from dfd.calibration import Platt, Temperature
from dfd.cli import main
from dfd.commands.detect import export
from dfd.commands.judge import ensemble as make_ensemble
from dfd.detector import Card
from dfd.evaluate.attacks import PictureNet
from dfd.evaluate.conditions import parse_conditions
from dfd.evaluate.ensemble import ensemble
from dfd.evaluate.grid import Options, evaluate
from dfd.evaluate.prediction_file import read_predictions
from dfd.inference.explain import explain
from dfd.inference.verdict_words import line, sentences
from dfd.models import Generator, recipe
from dfd.shards.samples import write_samples

HERE = Options(workers=0, batch_size=20, allow=("small_nets",))
WHOLE = VIEW | {"size": 24, "resize": True}
WORDS = {"balanced": 0.0, "fpr5": 0.5, "fnr5": -0.5}


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Pictures of all three splits, 24 each."""
    made = []
    for seed, split in enumerate(("train", "val", "test")):
        for each in samples(seed):
            key, groups = f"{split}/{each.key}", tuple(f"{split}-{name}" for name in each.groups)
            made.append(replace(each, key=key, groups=groups, split=split))
    folder = tmp_path_factory.mktemp("ensemble") / "shards"
    write_samples(made, folder, {"what": "test"})
    return folder


@pytest.fixture(scope="session")
def val():
    """The encoded pictures of the val split, and their labels."""
    drawn = samples(1)
    return [each.image_bytes for each in drawn], np.array([each.label for each in drawn])


@pytest.fixture
def bright(tmp_path):
    """Makes NAME.ckpt of a `Bright` net."""

    def make(name, channel=0, gain=40.0, **facts):
        net = Bright(channel, gain)
        facts = {"view": VIEW, "thresholds": WORDS, "calibrated_on": CALIBRATED} | facts
        card = Card(recipe(net), calibration=facts.pop("calibration", Temperature(2.0)), **facts)
        path = tmp_path / f"{name}.ckpt"
        torch.save({"dfd": card.to_plain(), "state_dict": {"net.gain": net.gain.detach()}}, path)
        return str(path)

    return make


def logits(path, pictures, allow=("small_nets",)):
    """Of files, as a user's are judged."""
    detector = dfd.load(path, allow=allow)
    return np.array([detector.score(each, whole=True)[0].logit for each in pictures])


@pytest.mark.parametrize("how", ["max", "stacked"])
def test_members_of_two_views_make_one_checkpoint_that_judges_as_they_do(
    how, checkpoint, shards, val, tmp_path
):
    files = [str(checkpoint("one", 0)), str(checkpoint("two", 3, view=WHOLE, seen={"val": torch.arange(3)}))]
    out = tmp_path / "both.ckpt"
    made = ensemble(files, [str(shards)], out, how, HERE)
    pictures, label = val
    pictures = pictures[::4] if how != "stacked" else pictures
    members = np.stack([logits(file, pictures) for file in files], axis=1)
    parts = members * made.net.slope.numpy() + made.net.offset.numpy()
    wanted = parts.max(1) if how == "max" else parts.sum(1)
    np.testing.assert_allclose(logits(out, pictures), wanted, rtol=1e-4, atol=1e-4)
    if how == "stacked":
        order = wanted[label == 1][:, None] > wanted[label == 0]
        assert made.auroc[""] == pytest.approx(order.mean(), abs=1e-6)
        assert made.auroc[""] >= max(made.auroc["one"], made.auroc["two"]) - 1e-9
        assert made.card.calibrated_on["images"] == 24 and len(made.card.seen["val"]) == 3 + 24
        assert set(made.card.calibrated_on["sources"]) == {"cam", "phone"}


def test_members_of_one_view_share_crops(checkpoint, shards, tmp_path):
    made = ensemble(
        [str(checkpoint("one", 0)), str(checkpoint("two", 3))],
        [str(shards)],
        tmp_path / "a.ckpt",
        "mean",
        HERE,
    )
    assert made.net.sheet is None and made.card.made_view("").num_crops == 5


@pytest.mark.slow
def test_an_ensemble_is_exported_and_evaluated_as_a_checkpoint(checkpoint, shards, tmp_path):
    out, exported = tmp_path / "both.ckpt", tmp_path / "both.safetensors"
    files = [str(checkpoint("one", 0)), str(checkpoint("two", 3, view=WHOLE))]
    ensemble(files, [str(shards)], out, "mean", HERE)
    export(out, out=exported)
    clean = parse_conditions({"conditions": []})
    evaluate([out, f"exported={exported}", *files], [shards], tmp_path / "grid", clean, HERE)
    cell = {
        name: read_predictions(tmp_path / f"grid/cells/{name}/shards/clean.parquet")[0]
        for name in ("both", "exported", "one", "two")
    }
    np.testing.assert_allclose(cell["exported"].logit, cell["both"].logit, rtol=1e-5, atol=1e-5)
    wanted = logits(out, [each.image_bytes for each in samples(2)])
    np.testing.assert_allclose(cell["both"].logit, wanted, rtol=1e-4, atol=1e-4)
    net = dfd.load(out).net
    slopes, offset = net.slope.numpy(), float(net.offset.sum())
    by_hand = slopes[0] * cell["one"].logit + slopes[1] * cell["two"].logit + offset
    np.testing.assert_allclose(cell["both"].logit, by_hand, rtol=1e-4, atol=1e-4)


def test_of_two_experts_the_one_that_speaks_is_named(bright, shards, tmp_path):
    out = tmp_path / "pair.ckpt"
    named = [
        f"blend={bright('red', 0)}",
        f"trace={bright('green', 1, view=WHOLE, calibration=Platt(2.0, 0.5))}",
    ]
    made = ensemble(named, [str(shards)], out, "experts", HERE)
    assert made.net.slope.tolist() == [0.5, 2.0] and made.net.offset.tolist() == [0.0, 0.5]
    detector = dfd.load(out, allow=("small_nets",))
    detector.card.thresholds = WORDS
    for channel, name, words in ((0, "blend", "a pasted border"), (1, "trace", "a generator's trace")):
        picture = np.full((40, 48, 3), 60, np.uint8)
        picture[..., channel] = 200
        (score,) = detector.score(picture, whole=True)
        assert (score.verdict, score.expert) == ("fake", name) and asdict(score)["expert"] == name
        assert f"fake            {words}  P(fake)" in line(score)
        assert any(words in sentence for sentence in sentences(score))
    (score,) = detector.score(np.full((40, 48, 3), 60, np.uint8), whole=True)
    assert (score.verdict, score.expert) == ("no_trace", "")


def test_what_a_members_figures_do_not_say_is_said(bright, checkpoint, shards, tmp_path, capsys):
    silent = f"trace={bright('flat', 2, gain=0.0, calibration=Platt(1.0, 0.0))}"
    named = [f"blend={bright('red', 0)}", silent]
    made = ensemble(named, [str(shards)], tmp_path / "pair.ckpt", "experts", HERE)
    (doubt,) = made.doubts
    assert doubt.startswith(
        "trace: on these pictures it is not shown to tell fakes from reals (AUROC 0.50 to"
    )
    said = capsys.readouterr().out
    assert doubt in said and "val AUROC (95% interval)" in said
    assert "Of 24 images in 12 families, which fitted the ensemble and may have chosen its members" in said
    assert '"fake" is never said: it takes at least' in said
    small = [str(bright("small", 0, gain=0.01)), str(bright("large", 1))]
    made = ensemble(small, [str(shards)], tmp_path / "mean.ckpt", "mean", HERE)
    (doubt,) = made.doubts
    assert doubt.startswith("small: its logits are so small that its calibration stops at a slope of 20")
    made = ensemble([silent, str(bright("large", 1))], [str(shards)], tmp_path / "flat.ckpt", "mean", HERE)
    (doubt,) = made.doubts
    assert doubt.startswith("trace: on these") and doubt.endswith("Leave it out, or train it for longer.")


def test_experts_whose_log_odds_are_added_name_the_one_that_says_most(bright, shards, tmp_path):
    out = tmp_path / "sum.ckpt"
    named = [f"face={bright('red', 0)}", f"trace={bright('green', 1, calibration=Platt(2.0, 0.5))}"]
    made = ensemble(named, [str(shards)], out, "added", HERE)
    assert made.net.slope.tolist() == [0.5, 2.0] and made.net.offset.tolist() == [0.0, 0.5]
    image = torch.rand(3, 3, 40, 48)
    parts = made.net.parts(made.net.member_logits(image))
    torch.testing.assert_close(made.net(image), parts.sum(1))
    detector = dfd.load(out, allow=("small_nets",))
    detector.card.thresholds = {"balanced": -98.0, "fpr5": -97.0, "fnr5": -99.0}
    picture = np.full((40, 48, 3), 60, np.uint8)
    picture[..., 0] = 255
    (score,) = detector.score(picture, whole=True)
    assert (score.verdict, score.expert) == ("fake", "face")
    assert "a face unlike its surroundings" in line(score)
    with pytest.raises(ValueError, match=r"--fuse added is of experts"):
        make_ensemble("a.ckpt", "b.ckpt", on=(str(shards),), out=out, fuse="added")


def test_strange_pictures_are_known_by_the_layers_of_a_member(bright, shards, tmp_path):
    gates = [ensemble([bright("a"), bright("b", 1)], [str(shards)], tmp_path / "none.ckpt", "mean", HERE)]
    known = tmp_path / "known.ckpt"
    state = home(shards)
    two = [bright("c", 0, familiarity=state), bright("d", 1, view=WHOLE)]
    gates.append(ensemble(two, [str(shards)], known, "mean", HERE))
    assert gates[0].card.familiarity is None and gates[1].card.familiarity["facts"]["val_images"] == 24
    detector = dfd.load(known, allow=("small_nets",))
    ours, dark = samples(1)[0].image_bytes, np.zeros((40, 48, 3), np.uint8)
    assert detector.score(ours, whole=True)[0].familiarity > 0
    assert detector.score(dark, whole=True)[0].verdict == "unfamiliar"


def home(shards):
    """The gate's state of a fit on these shards."""
    from dfd.data import ShardDataModule
    from dfd.familiarity import Features
    from dfd.media.crops import View
    from dfd.tasks.home import learn_home

    data = ShardDataModule(str(shards), view=View(**VIEW), num_workers=0)
    data.open_catalog()
    return learn_home(Features(), data, torch.device("cpu")).state()


def test_what_makes_no_ensemble_is_refused(bright, checkpoint, save_generator, shards, tmp_path):
    out, here, a = tmp_path / "out.ckpt", [str(shards)], bright("a")
    cases = [
        ("two members or more", [a], "mean"),
        ("are the same net, which would only count twice", [a, f"again={a}"], "mean"),
        ("are the same net", [a, bright("copy")], "mean"),
        ("holds a generator", [a, save_generator], "mean"),
        (
            "b calls fake what the val split calls real: its AUROC on 24 pictures there is 0",
            [a, bright("b", 0, -30.0)],
            "mean",
        ),
        (
            r"different margins: a at 1.35 and m at 1.1 times",
            [a, bright("m", 1, view=VIEW | {"margin": 1.1})],
            "mean",
        ),
        ("never calibrated", [a, bright("new", 1, calibrated_on=None)], "experts"),
        ("--how median", [a, bright("x", 1)], "median"),
    ]
    for words, files, how in cases:
        with pytest.raises(ValueError, match=words):
            ensemble(files, here, out, how, HERE)
    drawn = bright("toy", 1, data={"class_path": "dfd.data.ToyDataModule", "init_args": {}})
    with pytest.raises(ValueError, match="trained on the toy set's drawings and"):
        ensemble([a, drawn], here, out, "mean", HERE)
    with pytest.raises(ValueError, match=r"so call it .*out\.ckpt"):
        ensemble([a, drawn], here, tmp_path / "out.pt", "mean", HERE)
    assert not out.exists()
    exported = tmp_path / "a.safetensors"
    export(checkpoint("mine"), out=exported)
    with pytest.raises(ValueError, match="are the same net"):
        ensemble([str(tmp_path / "mine.ckpt"), f"b={exported}"], here, out, "mean", HERE)


@pytest.fixture
def save_generator(tmp_path):
    net = Generator(size=64, width=2)
    path = tmp_path / "gan.ckpt"
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": Card(recipe(net), view=VIEW).to_plain(), "state_dict": state}, path)
    return str(path)


def test_an_attack_follows_all_members_to_the_picture(checkpoint, shards, tmp_path):
    out = tmp_path / "both.ckpt"
    files = [str(checkpoint("one", 0)), str(checkpoint("two", 3, view=WHOLE))]
    ensemble(files, [str(shards)], out, "max", HERE)
    detector = dfd.load(out)
    picture = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    image = torch.from_numpy(picture).movedim(-1, 0).float().div(255)[None].requires_grad_()
    logit = PictureNet(detector, 40, 48)(image) + detector.card.thresholds["balanced"]
    # the picture that one member resizes is rounded to 256 levels for it, and not for an attack
    assert float(logit.detach()) == pytest.approx(detector.score(picture, whole=True)[0].logit, abs=0.05)
    (gradient,) = torch.autograd.grad(logit.sum(), image)
    assert gradient.abs().amax() > 0


@pytest.mark.slow
def test_an_ensemble_is_tested_by_the_command_and_explained(
    checkpoint, shards, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    files = [
        f"{name}={checkpoint(name, seed, **facts)}"
        for name, seed, facts in (("one", 0, {}), ("two", 3, {"view": WHOLE}))
    ]
    assert (
        main(
            ["ensemble", *files, "--on", str(shards), "--how", "max", "--out", "both.ckpt", "--workers", "0"]
        )
        == 0
    )
    assert "the largest part decides" in (said := capsys.readouterr().out) and "ensemble" in said
    assert main(["test", "both.ckpt", "--data.num_workers=0", "--run_folder=tested"]) == 0
    found = (tmp_path / "tested/predictions-test.csv").read_text().splitlines()
    heads = found[0].split(",")
    logit = [float(row.split(",")[heads.index("logit")]) for row in found[1:]]
    np.testing.assert_allclose(
        logit, logits("both.ckpt", [each.image_bytes for each in samples(2)]), rtol=1e-3, atol=1e-3
    )
    detector = dfd.load("both.ckpt")
    (face,) = detector.crop_faces(samples(2)[0].image_bytes, whole=True)
    shown = explain(detector, face)
    assert shown.logit == pytest.approx(logit[0], abs=1e-3) and shown.seen.shape == (32, 5 * 32 + 24, 3)
    assert {"integrated_gradients", "occlusion"} <= {each.method for each in shown.maps}
    assert "gradcam" in shown.refused and set(shown.streams.shares) == {"one", "two"}
