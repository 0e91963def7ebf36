"""Attacks as conditions of `dfd evaluate`: from a stranger's file to the tables."""

import numpy as np
import pytest
import torch
from pictures import noise

from dfd.batch import FAKE, REAL
from dfd.evaluate.conditions import load_conditions, parse_conditions
from dfd.evaluate.grid import Options, evaluate
from dfd.evaluate.prediction_file import read_predictions
from dfd.models import Net, SingleStream, SmallCNN, recipe
from dfd.resources import shipped
from dfd.shards.samples import NewSample, write_samples


class Rounded(Net):
    """A detector behind a front that rounds, so that its gradients are exactly zero."""

    def __init__(self, levels: int = 16):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(50.0))
        self.levels = levels

    def forward(self, image, cues=None):
        image = (image * self.levels).round() / self.levels
        return self.gain * (image[:, 0] - image[:, 2]).mean((1, 2))


class NoGradients(Rounded):
    def forward(self, image, cues=None):
        with torch.no_grad():
            return super().forward(image)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve pictures of noise, six a class, and one that is too small."""
    folder = tmp_path_factory.mktemp("shards") / "noise"
    made = [NewSample(f"p{i}", noise(i), i % 2, "test", "s") for i in range(12)]
    made.append(NewSample("small", noise(99, width=20, height=20), REAL, "test", "s"))
    write_samples(made, folder, {"what": "test"})
    return folder


def checkpoint(path, net, seed=0):
    if hasattr(net, "head"):
        torch.manual_seed(seed)
        torch.nn.init.normal_(net.head.weight, std=2.0)
    facts = {
        "version": "0",
        "net": recipe(net),
        "view": {"size": 32, "crops": 5, "longest": None, "resize": False, "margin": 1.3},
        "calibration": {"kind": "temperature", "temperature": 1.0},
        "thresholds": {"balanced": 0.0, "fpr5": 0.1, "fnr5": -0.1},
        "calibrated_on": {"split": "val", "images": 300, "groups": 120},
        "selected_on": "val/auroc",
    }
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": facts, "state_dict": state}, path)
    return path


def asked(*entries):
    return parse_conditions({"conditions": list(entries)})


def judged(out, detector, root, conditions, **options):
    table = evaluate([detector], [root], out, conditions, Options(workers=0, **options))
    return {
        (line["condition"], line["severity"]): line
        for line in table.to_pylist()
        if (line["part"], line["kind"]) == ("all", "image") and line["root"] != "*"
    }


@pytest.mark.slow
def test_attacked_cells_stand_in_the_table_with_their_own_number_of_images(tmp_path, root, capsys):
    net = checkpoint(tmp_path / "net.ckpt", SingleStream(SmallCNN(width=4)))
    other = checkpoint(tmp_path / "other.ckpt", SingleStream(SmallCNN(width=4)), seed=1)
    entries = (
        {"name": "pgd", "attack": "pgd", "steps": 3, "eps": [2, 8], "images": 8},
        {"name": "moved", "attack": "pgd", "steps": 3, "eps": [8], "images": 50, "from": str(other)},
    )
    lines = judged(tmp_path / "grid", net, root, asked(*entries))
    small, large = lines["pgd", 2.0], lines["pgd", 8.0]
    assert (small["num_images"], small["num_real"], small["num_fake"]) == (8, 4, 4)
    moved = lines["moved", 8.0]
    assert moved["num_images"] == 13 and moved["coverage"] == pytest.approx(12 / 13), (
        "the small one has no logit"
    )
    assert large["auroc"] == 0 and large["auroc"] <= small["auroc"] <= moved["auroc"] + 0.5
    table, _, _, facts = read_predictions(tmp_path / "grid/cells/net/noise/pgd@8.parquet")
    before = read_predictions(tmp_path / "grid/cells/net/noise/clean.parquet")[0]
    place = {row: at for at, row in enumerate(before.row.tolist())}
    shift = table.logit - before.logit[[place[row] for row in table.row.tolist()]]
    known = np.isfinite(shift)
    assert (np.where(table.label == FAKE, -shift, shift)[known] > 0).all(), "each went the wrong way"
    assert facts["attack"]["steps"] == 3 and facts["zero_gradients"] == 0
    moved_facts = read_predictions(tmp_path / "grid/cells/net/noise/moved@8.parquet")[3]
    assert len(moved_facts["attack"]["sha256"]) == 64
    # what is there is not attacked again, unless the attack is another one
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "grid/cells").rglob("*.parquet")}
    again = ({**entries[0], "steps": 4}, entries[1])
    judged(tmp_path / "grid", net, root, asked(*again))
    changed = {path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"pgd@2.parquet", "pgd@8.parquet"}
    assert "masked" not in capsys.readouterr().out


def test_masked_gradients_are_said_and_flagged(tmp_path, root, capsys):
    net = checkpoint(tmp_path / "net.ckpt", Rounded())
    lines = judged(
        tmp_path / "grid",
        net,
        root,
        asked({"name": "pgd", "attack": "pgd", "steps": 2, "eps": [4]}),
        allow=("test_attacked_grid.",),
    )
    assert lines["pgd", 4.0]["flags"].split().count("masked_gradients") == 1
    said = capsys.readouterr().out
    assert "net on noise: gradients are masked: the gradient is exactly zero in 100% of the pictures" in said


def test_a_net_without_gradients_ends_it_in_one_line(tmp_path, root):
    net = checkpoint(tmp_path / "net.ckpt", NoGradients())
    with pytest.raises(
        ValueError, match=r"net.ckpt, under pgd@4: the net \(NoGradients\) gives no gradients.*square"
    ) as error:
        judged(
            tmp_path / "grid",
            net,
            root,
            asked({"name": "pgd", "attack": "pgd", "eps": [4]}),
            allow=("test_attacked_grid.",),
        )
    assert "\n" not in str(error.value)


def test_a_transfer_from_no_checkpoint_is_said_before_anything_is_judged(tmp_path, root):
    net = checkpoint(tmp_path / "net.ckpt", SingleStream(SmallCNN(width=4)))
    with pytest.raises(ValueError, match="There is no detector"):
        judged(
            tmp_path / "grid",
            net,
            root,
            asked({"name": "m", "attack": "fgsm", "from": str(tmp_path / "no.ckpt")}),
        )
    assert not (tmp_path / "grid").exists()


def test_entries_that_name_two_things_or_strange_ones(tmp_path):
    with pytest.raises(ValueError, match="names corruption and attack"):
        asked({"name": "x", "corruption": "jpeg", "attack": "pgd"})
    with pytest.raises(ValueError, match="unknown attack 'deepfool'"):
        asked({"name": "x", "attack": "deepfool"})


@pytest.mark.parametrize("name", ["attacks", "attacks_second"])
def test_the_shipped_attacks_are_read(name):
    found = [each for each in load_conditions(f"conditions/{name}") if each.attack]
    assert len(found) >= 6 and {each.attack.eps for each in found} <= {1, 2, 4, 8}
    assert (shipped("configs") / f"conditions/{name}.yaml").is_file()
