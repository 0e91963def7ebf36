"""One table of models: figures, tests and costs of nets that judge the same pictures."""

import csv

import pytest
import torch

from dfd import run_record
from dfd.cli import main
from dfd.evaluate.model_table import models_of
from dfd.evaluate.prediction_tables import read_judged
from dfd.metrics import detection_metrics, mean_interval
from dfd.models import SingleStream, SmallCNN, recipe


def test_run_folders_checkpoints_and_seeds_are_named(tmp_path):
    for run in ("a", "b"):
        (tmp_path / run / "checkpoints").mkdir(parents=True)
        (tmp_path / run / "checkpoints" / "best.ckpt").touch()
    a, b = tmp_path / "a", tmp_path / "b" / "checkpoints" / "best.ckpt"
    found = models_of([str(a), f"both={a},{b}"])
    assert [(model.name, len(model.checkpoints)) for model in found] == [("a", 1), ("both", 2)]
    assert found[1].runs == (a, tmp_path / "b")
    with pytest.raises(ValueError, match="two models are called a"):
        models_of([str(a), f"a={b}"])
    with pytest.raises(ValueError, match="Name the run folder of a dfd fit that has ended"):
        models_of([str(tmp_path)])


@pytest.mark.slow
def test_a_table_has_the_figures_of_the_cells_and_what_each_model_cost(root, checkpoint, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    first = checkpoint("first", seed=0).rename(run / "checkpoints" / "best.ckpt")
    second, third = checkpoint("second", seed=1), checkpoint("third", seed=2)
    run_record.begin(run, ["fit"])
    run_record.note(run, seconds=5400.0, joules=7.2e6)
    out = tmp_path / "out"
    given = [str(run), f"two={second},{third}", "--on", str(root), "--out", str(out), "--workers", "0"]
    assert main(["compare", *given]) == 0
    with (out / "models.csv").open() as file:
        lines = list(csv.DictReader(file))
    auroc = [line for line in lines if line["metric"] == "auroc" and line["condition"] == "clean"]
    of = {line["model"]: line for line in auroc}
    cells = [read_judged(str(out / f"grid/cells/two-{seed}/{root.name}/clean.parquet")) for seed in (0, 1)]
    seeds = [cell.predictions for cell in cells]
    wanted = sum(detection_metrics(seed)["auroc"] for seed in seeds) / 2
    assert float(of["two"]["value"]) == pytest.approx(wanted) and of["two"]["num_seeds"] == "2"
    low, high = mean_interval(seeds, "auroc")
    assert (float(of["two"]["low"]), float(of["two"]["high"])) == pytest.approx((low, high))
    (best,) = (line for line in auroc if line["best"] == "True")
    assert best["p_holm"] == "nan" and float(best["value"]) == max(float(line["value"]) for line in auroc)
    cost = of["run"]
    assert (cost["seconds"], cost["joules"]) == ("5400.0", "7200000.0")
    assert of["two"]["seconds"] == "" and int(cost["parameters"]) > 100 and int(cost["flops"]) > 1000
    text = (out / "models.md").read_text()
    assert "| 1:30 | 2 kWh |" in text and f"{root.name}: " in text and first.exists()
    page = (out / "models.html").read_text()
    assert "Models on the same pictures" in page and "not shown to be worse" in page
    said = capsys.readouterr().out
    assert "models.md" in said and "training 1:30" in said


def test_seeds_are_trainings_of_one_recipe_each_another(checkpoint, root, tmp_path, capsys):
    one, other = checkpoint("one", seed=0), checkpoint("other", seed=1)
    wide = tmp_path / "wide.ckpt"
    stored = torch.load(one, weights_only=True)
    net = SingleStream(SmallCNN(width=12))
    stored["dfd"]["net"] = recipe(net)
    stored["state_dict"] = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save(stored, wide)
    for seeds, match in (((one, one), "names one file twice"), ((one, wide), "are nets of two recipes")):
        words = [f"both={','.join(map(str, seeds))}", f"other={other}", "--on", str(root)]
        assert main(["compare", *words, "--out", str(tmp_path / "out"), "--workers", "0"]) == 1
        assert match in (said := capsys.readouterr().err) and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
