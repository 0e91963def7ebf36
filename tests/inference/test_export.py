import csv
import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small import SMALL

from dfd.cli import main
from dfd.commands.detect import export
from dfd.detector import load_net
from dfd.inference import Predictor
from dfd.models import SingleStream, SmallCNN, recipe

FIT = ["fit", "--config", "small_cnn", "--config", "overlay/smoke", *SMALL, "--model.net.backbone.width=8"]


def facts_in(path: Path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["dfd"])


def test_an_export_answers_as_its_checkpoint_does(checkpoint, tmp_path, capsys):
    out = tmp_path / "new" / "best.safetensors"
    export(checkpoint, out=out)
    assert capsys.readouterr().out == f"SingleStream, 19,301 parameters: {out}, {out}.json\n"
    net, card = load_net(checkpoint)
    again, same = load_net(out)
    assert type(again) is type(net) and not again.training
    image = torch.rand(3, 3, 64, 64)
    assert torch.equal(again(image), net(image))
    for name in ("net", "view", "calibration", "thresholds", "calibrated_on", "selected_on", "version"):
        assert getattr(same, name) == getattr(card, name), name
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert Predictor(out).score(pixels, whole=True) == Predictor(checkpoint).score(pixels, whole=True)


def test_the_weights_have_the_nets_own_names_and_the_json_says_what_the_header_says(checkpoint, tmp_path):
    out = tmp_path / "best.safetensors"
    export(checkpoint, out=out)
    net, _ = load_net(checkpoint)
    net.load_state_dict(load_file(out))  # as anybody would who knows nothing of dfd
    beside = json.loads(
        (tmp_path / "best.safetensors.json").read_text(), parse_constant=lambda word: pytest.fail(word)
    )
    assert beside.pop("sha256") == hashlib.sha256(out.read_bytes()).hexdigest()
    assert beside == facts_in(out)
    assert beside["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert beside["weights"] == "last step"
    (tmp_path / "best.safetensors.json").unlink()
    load_net(out)  # the JSON is for others


def test_of_weights_and_their_average_the_average_is_exported(tmp_path):
    net, average = SingleStream(SmallCNN(8)), SingleStream(SmallCNN(8))
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    weights |= {f"average.module.{name}": value for name, value in average.state_dict().items()}
    task = {"class_path": "dfd.tasks.ClassificationTask", "init_args": {"ema_decay": 0.9, "warmup": 0.1}}
    facts = {"net": recipe(net), "ema_decay": 0.9, "task": task, "seen": {"train": torch.arange(3)}}
    torch.save({"state_dict": weights, "dfd": facts}, tmp_path / "best.ckpt")
    export(tmp_path / "best.ckpt", out=tmp_path / "best.safetensors")
    stored = load_file(tmp_path / "best.safetensors")
    assert stored.keys() == average.state_dict().keys()
    assert all(torch.equal(stored[name], value) for name, value in average.state_dict().items())
    found = facts_in(tmp_path / "best.safetensors")
    assert found["weights"] == "moving average" and found["ema_decay"] is None
    assert found["task"]["init_args"] == {"ema_decay": None, "warmup": 0.1} and "seen" not in found


def test_a_net_that_was_never_calibrated_keeps_its_infinite_thresholds(save, tmp_path):
    never = {"balanced": 0.0, "fpr5": math.inf, "fnr5": -math.inf}
    export(save(thresholds=never, calibrated_on=None), out=tmp_path / "new.safetensors")
    assert load_net(tmp_path / "new.safetensors")[1].thresholds == never


def test_what_exists_is_not_overwritten(checkpoint, tmp_path):
    with pytest.raises(
        ValueError, match=r"call it .*best\.safetensors, .*best\.onnx or .*best\.xml\. Without"
    ):
        export(checkpoint, out=tmp_path / "best.pt")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match="is a folder, where a file is to be written"):
        export(checkpoint, out=tmp_path / "folder.onnx")
    (tmp_path / "folder.onnx").rmdir()
    with pytest.raises(ValueError, match="is a device, where a folder is to be made"):
        export(checkpoint, out=Path(os.devnull))
    for taken in ("best.safetensors", "best.safetensors.json"):
        (tmp_path / taken).write_text("mine")
        with pytest.raises(ValueError, match=f"{taken} exists"):
            export(checkpoint, out=tmp_path / "best.safetensors")
        assert (tmp_path / taken).read_text() == "mine"
        (tmp_path / taken).unlink()
    with pytest.raises(ValueError, match="There is no detector"):
        export(tmp_path / "gone.ckpt", out=tmp_path / "best.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_folder_of_an_export_is_made_and_not_left_empty(checkpoint, save, tmp_path):
    for name in ("best.safetensors", "hub"):
        export(checkpoint, out=tmp_path / "new" / "deep" / name)
        assert (tmp_path / "new" / "deep" / name).exists()
        shutil.rmtree(tmp_path / "new")
    with pytest.raises(ValueError, match="net is none"):
        export(save(view=None), out=tmp_path / "new" / "deep" / "best.onnx")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_has_one_export_to_the_byte(checkpoint, tmp_path):
    for number in range(8):  # the library shuffles what it writes
        export(checkpoint, out=tmp_path / f"{number}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.glob("*.safetensors")}) == 1
    assert len({path.read_bytes() for path in tmp_path.glob("*.json")}) == 1


def test_an_export_that_was_killed_between_its_two_names_is_finished_by_the_same_command(
    checkpoint, save, tmp_path, monkeypatch
):
    out, replace, named = tmp_path / "best.safetensors", os.replace, []

    def killed(source, target):
        if named:
            raise KeyboardInterrupt
        named.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        export(checkpoint, out=out)
    monkeypatch.undo()
    assert named == ["best.safetensors"], "the page describes a file that is there"
    with pytest.raises(ValueError, match="exists"):
        export(save(selected_on="another"), out=out)
    export(checkpoint, out=out)
    assert json.loads((tmp_path / "best.safetensors.json").read_text())["sha256"]


def test_an_export_tells_nothing_of_the_machine_that_trained(save, tmp_path):
    data = {
        "class_path": "dfd.data.ShardDataModule",
        "init_args": {
            "roots": {"/home/ada/shards/mine": 1.0, "https://user:secret@host/more": 2.0, "here/third": 1.0},
            "cache": {"folder": "/scratch/ada"},
            "val_augment": [{"class_path": "dfd.augment.X", "init_args": {"file": r"C:\Users\ada\x.bin"}}],
        },
    }
    out = tmp_path / "best.safetensors"
    export(save(data=data), out=out)
    for text in (out.read_bytes().decode("latin-1"), (tmp_path / "best.safetensors.json").read_text()):
        for word in ("ada", "secret", "host", "scratch", "here/"):
            assert word not in text.lower().replace("metadata", ""), word
    stored = load_net(out)[1].data["init_args"]
    assert stored["roots"] == {"mine": 1.0, "more": 2.0, "third": 1.0} and "cache" not in stored


def test_a_damaged_export_is_found(checkpoint, tmp_path):
    out = tmp_path / "best.safetensors"
    export(checkpoint, out=out)
    whole = out.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")  # of the weights
    for place in np.random.default_rng(0).integers(start, len(whole), 20).tolist():
        out.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(
            ValueError,
            match=r"best\.safetensors is damaged: the sha256 of its contents is \w{64}, where \w{64} was",
        ):
            load_net(out)
    changed = whole.replace(b'\\"temperature\\": 1.7', b'\\"temperature\\": 7.1')
    assert changed != whole
    out.write_bytes(changed)
    with pytest.raises(ValueError, match="is damaged"):
        load_net(out)
    for content in (b"", b"text", whole[:-1], whole[: start - 5], bytes(100)):
        out.write_bytes(content)
        with pytest.raises(ValueError, match="is not a whole safetensors file"):
            load_net(out)
    save_file({"weight": torch.ones(1)}, out)
    with pytest.raises(ValueError, match="holds weights without the net that they belong to"):
        load_net(out)


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "dfd.cli.main", "my_package.Net"])
def test_an_export_may_not_choose_code_either(save, tmp_path, path):
    from dfd.models.safetensors_export import write_export

    net, card = load_net(save())
    card.net["class_path"] = path
    write_export(net.state_dict(), card.to_plain() | {"seen": {}}, tmp_path / "evil.safetensors")
    with pytest.raises(ValueError, match=r"code from outside dfd|not a dfd\.models\.Net"):
        load_net(tmp_path / "evil.safetensors")


@pytest.mark.slow
def test_a_trained_run_is_judged_by_its_export_as_by_its_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main([*FIT, "--model.ema_decay=.5", "--run_folder=run"]) == 0
    export(Path("run/checkpoints/best.ckpt"), out=Path("best.safetensors"))
    shutil.move("run/checkpoints/best.ckpt", "best.ckpt")
    judged = {}
    for file in ("best.ckpt", "best.safetensors"):
        for verb in ("validate", "test"):
            assert main([verb, file, "--run_folder", f"{file}-{verb}"]) == 0
            with Path(f"{file}-{verb}/metrics.csv").open() as table:
                judged[file, verb] = list(csv.DictReader(table))
        said = " ".join(capsys.readouterr().out.split())
        assert ("Seen before: none of these" in said) == (file == "best.ckpt")
        assert ("does not say which images it was trained on" in said) == (file == "best.safetensors")
    for verb in ("validate", "test"):
        assert judged["best.ckpt", verb] == judged["best.safetensors", verb]
    assert main([*FIT, "--ckpt_path=best.safetensors", "--run_folder=more"]) == 1
    assert "holds weights without the state of their training" in capsys.readouterr().err


def test_the_command_writes_what_the_suffix_says(checkpoint, tmp_path, capsys):
    out = tmp_path / "best.safetensors"
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "best.pth")]) == 1
    assert "safetensors" in (said := capsys.readouterr().err) and "onnx" in said and not out.exists()
    assert main(["export", str(checkpoint), "--out", str(out)]) == 0
    assert out.exists() and (tmp_path / "best.safetensors.json").exists()
    capsys.readouterr()
    assert main(["export", str(checkpoint), "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"dfd export: {out} exists. Choose another name or remove it.\n"


def test_a_full_disk_leaves_neither_file(checkpoint, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)  # the second one
    with pytest.raises(OSError, match="no space left for"):
        export(checkpoint, out=tmp_path / "best.safetensors")
    assert not list(tmp_path.iterdir())
