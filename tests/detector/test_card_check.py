"""Every fact of a checkpoint or an export is checked when it is read, and ends in one line or in sense."""

import io
import json
import math
import zipfile
from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dfd
from dfd.calibration import Temperature
from dfd.cli.checkpoint_config import experiment_of
from dfd.detector import Card, load_net
from dfd.media.crops import View
from dfd.models import SingleStream, SmallCNN, recipe
from dfd.models.safetensors_export import CARD, DIGEST, _digest

NET = SingleStream(SmallCNN(4)).eval()
FACTS = Card(
    recipe(NET),
    view=dict(vars(View(size=32, crops=5, longest=64, margin=1.35))),
    calibration=Temperature(1.7),
    thresholds={"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3},
    calibrated_on={"split": "val", "images": 300, "groups": 120, "data": "faces", "sources": {}},
    selected_on="val/auroc",
    seen={"train": torch.arange(4), "val": torch.arange(2)},
    task={"class_path": "dfd.tasks.ClassificationTask", "init_args": {"ema_decay": None}},
    data={"class_path": "dfd.data.ToyDataModule", "init_args": {"num_images": 36, "view": {"size": 32}}},
).to_plain()


PLATT = {"kind": "platt", "slope": 0.7, "offset": -0.2}
KNOTS = {"kind": "isotonic", "logits": [-1.0, 0.5, 2.0], "log_odds": [-3.0, 0.0, 3.0]}
WRONG_KNOTS = (
    {"logits": []}, {"logits": [-1.0, 0.5]}, {"logits": [2.0, 0.5, -1.0]}, {"log_odds": [0.0, 1.0, math.nan]},
    {"log_odds": [0.0, 1.0, math.inf]}, {"log_odds": [3.0, 2.0, 1.0]}, {"logits": [-1e308, 0.0, 1e308]},
    {"logits": "abc"}, {"log_odds": [0.0, None, 1.0]}, {"logits": list(range(20_000))}, {"log_odds": None},
)  # fmt: skip
COUNTS = {"images": 150, "independent": 140.5, "errors": 2, "right": 130, "bound": 0.04}
WRONG_COUNTS = (
    {"images": -1}, {"images": 0, "independent": 0.0, "errors": 0, "right": 0}, {"images": True}, {"independent": 151.0}, {"independent": math.nan}, {"errors": 1.0}, {"errors": 141}, {"right": 149},
    {"bound": math.nan}, {"bound": 2.0}, {"bound": "x"}, {"more": 1},
)  # fmt: skip


def deep(levels):
    value = {}
    for _ in range(levels):
        value = {"class_path": [value]}
    return value


HOSTILE = {
    "None": None, "empty": "", "long": "x" * 1_000_000, "minus": -1, "zero": 0, "nan": math.nan, "inf": math.inf,
    "huge": 1e308, "tiny": 5e-324, "list": [], "dict": {}, "true": True, "bytes": b"\x00", "complex": 1j,
    "deep": deep(3000), "integer": 10**5000, "big": 1 << 40, "escape": "\x1b[31m", "tensor": torch.ones(2),
    "zero_stride": torch.zeros(1).expand(3 * 10**9), "meta": torch.zeros(3, device="meta"),
    "sparse": torch.eye(3).to_sparse(), "set": {1}, "nested": [[{"a": [None]}]], "keys": {3: 4},
    "wide": list(range(200_000)), "tuple": (1, 2),
}  # fmt: skip


def places(value, path=()):
    """Every fact, and every fact within one."""
    for name, inner in value.items():
        yield (*path, name)
        if isinstance(inner, dict):
            yield from places(inner, (*path, name))


def changed(value, path, hostile):
    name, *rest = path
    return {**value, name: changed(value[name], rest, hostile) if rest else hostile}


def archive():
    """A file that torch could have written."""
    file = io.BytesIO()
    torch.save({}, file)
    return file.getvalue()


def pixels():
    return np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """Puts facts into a file and does with it what every verb does; returns the error's words or ""."""

    def judged(facts, state=None, path=tmp_path / "best.ckpt"):
        weights = {f"net.{name}": value for name, value in NET.state_dict().items()} | (state or {})
        # as torch.load gives it: some of these cannot be written with the pickles of today
        monkeypatch.setattr(torch, "load", lambda *args, **kwargs: {"dfd": facts, "state_dict": weights})
        if not path.exists():
            path.write_bytes(archive())
        try:
            detector = dfd.load(path)
            for score in detector.score(pixels(), whole=True):
                assert score.prob is None or 0 <= score.prob <= 1
            experiment_of(path)
        except ValueError as error:
            text = str(error)
            assert len(text) < 1000 and "\n" not in text, text
            return text
        return ""

    return judged


def test_facts_as_dfd_writes_them_are_taken(judge):
    assert judge(FACTS) == ""
    for calibration in (PLATT, KNOTS):
        assert judge({**FACTS, "calibration": calibration}) == ""
    assert judge(changed(FACTS, ("calibrated_on", "sources"), {"a": {"real": COUNTS}})) == ""
    earlier = {name: value for name, value in FACTS.items() if name != "calibration"}
    assert judge({**earlier, "temperature": 1.7}) == ""
    assert "temperature" in judge({**earlier, "temperature": 0})
    assert {field.name for field in fields(Card)} >= FACTS.keys()


@pytest.mark.parametrize("path", list(places(FACTS)), ids=".".join)
def test_no_fact_is_used_unchecked(judge, path):
    for name, hostile in HOSTILE.items():
        judge(changed(FACTS, path, hostile))
        if name in ("deep", "bytes", "complex", "integer") and path[0] != "seen":
            assert judge(changed(FACTS, path, hostile)), f"{path} takes {name}"


@pytest.mark.parametrize(
    ("path", "hostile"),
    [
        (("calibration", "temperature"), (math.nan, math.inf, -1, 0, True, "1", None)),
        (("calibration", "kind"), ("magic", "", 3, None, [])),
        (
            ("calibration",),
            (None, [], {}, PLATT | {"slope": 0}, PLATT | {"offset": math.nan}, PLATT | {"slope": -1}),
        ),
        (("calibration",), [KNOTS | wrong for wrong in WRONG_KNOTS]),
        (("calibrated_on", "sources"), (None, [], {"a": 3}, {"a": {"real": 3}}, {"a": {"left": COUNTS}})),
        (("calibrated_on", "sources"), [{"a": {"fake": COUNTS | wrong}} for wrong in WRONG_COUNTS]),
        (("thresholds", "fpr5"), (math.nan, True, "warm", None, [])),
        (("thresholds", "balanced"), (math.nan, math.inf, "inf")),
        (("view", "size"), (0, -1, 1.5, 10**6, True, "32", None)),
        (("view", "margin"), (math.nan, math.inf, 0, -1, 1e308)),
        (("view", "crops"), (2, 5.0, None)),
        (("calibrated_on", "images"), (-1, 1.5, None, "9")),
        (("ema_decay",), (math.nan, 2, "x")),
    ],
    ids=str,
)
def test_a_fact_that_is_none_names_itself_and_both_versions(judge, path, hostile):
    for value in hostile:
        words = judge(changed({**FACTS, "version": "9.0.0"}, path, value))
        assert path[0] in words and "best.ckpt" in words, (path, value, words)
        assert "another version of dfd (the file says 9.0.0" in words and dfd.__version__ in words


def test_no_fact_commands_a_terminal(judge, monkeypatch):
    """Not in Python either, where nothing else escapes them."""
    evil = "\x1b]0;owned\x07\x1b[2J"
    facts = {**FACTS, "selected_on": evil, "version": evil}
    facts["calibrated_on"] = {**FACTS["calibrated_on"], "data": evil, "split": evil}
    facts["calibrated_on"]["sources"] = {evil: {"real": COUNTS}}
    card = Card.from_plain(facts, [], "it")
    for text in (card.basis, card.selected_on, card.version, str(card.calibrated_on)):
        assert text and "\x1b" not in text and "\x07" not in text
    for path, hostile in (
        (("view", evil), 1),
        (("net", "class_path"), evil),
        (("task", "class_path"), evil),
        (("net", "init_args", evil), 1),
        (("view", "size"), evil),
    ):
        assert "\x1b" not in (words := judge(changed(facts, path, hostile))) and words


def test_another_version_is_named(judge):
    newer = {**FACTS, "version": "9.0.0"}
    assert "another version" in judge(changed(newer, ("view", "future"), 1))
    assert "'future'" in judge(changed(newer, ("view", "future"), 1))
    assert "another version" in judge(changed(newer, ("net", "init_args", "future"), 3))
    without = {name: value for name, value in FACTS.items() if name != "thresholds"}
    assert "calibration without thresholds" in judge(without)
    optional = ("seen", "task", "data", "ema_decay", "weights_in", "selected_on")
    assert judge({name: value for name, value in FACTS.items() if name not in optional}) == ""


@pytest.mark.parametrize("name", ["zero_stride", "meta", "sparse", "list", "complex", "None", "long"])
def test_weights_are_numbers_that_lie_in_the_file(judge, name):
    first = next(iter(NET.state_dict()))
    words = judge(FACTS, {f"net.{first}": HOSTILE[name]})
    assert "among its weights" in words and "best.ckpt" in words
    assert "weights" in judge(FACTS, {f"net.{first}": NET.state_dict()[first].to(torch.complex64)})
    assert "broken" in judge(FACTS, {"net.head.weight": NET.head.weight.detach() * math.nan})


@pytest.mark.timeout(30)
def test_a_recipe_cannot_ask_for_more_than_its_file_holds(judge):
    huge = recipe(NET)
    huge["init_args"]["backbone"]["init_args"]["width"] = 1 << 17  # terabytes
    assert "do not fit" in judge({**FACTS, "net": huge})
    vit = {
        "class_path": "dfd.models.TimmBackbone",
        "init_args": {"name": "test_vit", "options": {"depth": 10**5}},
    }
    made = {"class_path": "dfd.models.SingleStream", "init_args": {"backbone": vit}}
    assert "file holds far fewer" in judge({**FACTS, "net": made})


def test_an_export_with_the_right_digest_and_hostile_facts_is_refused(tmp_path):
    path, weights = tmp_path / "evil.safetensors", NET.state_dict()
    plain = {**FACTS, "seen": {}}
    texts = [
        json.dumps(changed(plain, ("calibration", "temperature"), value))
        for value in (math.nan, math.inf, -1, [], None, "x", True)
    ]
    texts += [json.dumps(changed(plain, ("view", "size"), value)) for value in (-1, 1e9, "x", [])]
    texts += [
        "[]",
        "null",
        "3",
        "",
        "{",
        "[" * 100_000,
        "1" * 10_000,
        json.dumps({"weights_in": []}),
        '"' + "x" * 2_000_000 + '"',
    ]
    for text in texts:
        save_file(weights, path, {CARD: text, DIGEST: _digest(weights, text)})
        with pytest.raises(ValueError, match=r"evil\.safetensors") as raised:
            load_net(path)
        assert len(str(raised.value)) < 1000 and "\n" not in str(raised.value)


def test_what_is_no_checkpoint_says_what_to_give(tmp_path):
    pointer = tmp_path / "best.ckpt"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 14\n")
    with pytest.raises(ValueError, match=r"Git LFS pointer.*git lfs pull"):
        load_net(pointer)
    pointer.rename(tmp_path / "best.safetensors")
    with pytest.raises(ValueError, match="Git LFS pointer"):
        load_net(tmp_path / "best.safetensors")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best.ckpt").touch()
    for folder in (run, run / "checkpoints"):
        with pytest.raises(ValueError, match=r"give .*run/checkpoints/best\.ckpt"):
            load_net(folder)
    with pytest.raises(ValueError, match="download it first"):
        load_net("https://example.org/best.ckpt")


def test_a_checkpoint_that_is_a_bomb_is_refused_before_it_is_read(tmp_path):
    torch.save({"dfd": FACTS, "state_dict": {}}, tmp_path / "plain.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "plain.ckpt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w") as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name) + bytes(10**6), compress_type=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"bomb\.ckpt holds compressed records"):
        load_net(tmp_path / "bomb.ckpt")
