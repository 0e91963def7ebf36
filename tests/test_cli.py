import csv
import importlib
import inspect
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from small import FIT, SMALL

import dfd
from dfd.cli import LIGHTNING_VERBS, PLAIN_VERBS, main
from dfd.cli.config_files import config_folder
from dfd.models.seal import save_sealed

TIMM = [*SMALL, "--model.net.rgb=dfd.models.TimmBackbone", "--model.net.rgb.name=test_resnet"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the toy set is drawn, once for all tests of this file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def elsewhere(cache, tmp_path, monkeypatch):
    """An empty current folder, no account, no network, no W&B."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(cache))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(Path(dfd.__file__).parents[1]))  # for processes started from here


@pytest.fixture
def run_here(small_run, tmp_path):
    """The finished run, copied into this test's current folder."""
    return Path(shutil.copytree(small_run, tmp_path / "runs/small_cnn" / small_run.name))


def fails(capsys, args, *words, code=1):
    """The command ends with this exit code and says these words in at most ten lines of our own."""
    capsys.readouterr()
    assert main([str(arg) for arg in args]) == code
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) <= 10, said
    for foreign in ("Traceback", "Subtypes", "Namespace(", "weights_only"):
        assert foreign not in said, said
    for word in words:
        assert str(word) in said, said


def config_of(capsys, *args):
    """What --print_config says that these arguments amount to."""
    capsys.readouterr()
    assert main([*args, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


# the front doors


def test_help_lists_the_verbs_of_both_doors_without_heavy_imports():
    code = (
        "import sys; from dfd.cli import main\n"
        "for args in (['--help'], ['score', '--help'], ['prepare', '--help'], ['--version'], ['scoer']): "
        "main(args)\n"
        "heavy = {'torch', 'lightning', 'numpy', 'pyarrow', 'jsonargparse'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Did you mean score or serve?" in done.stderr
    assert dfd.__version__ in done.stdout
    page = done.stdout.partition("Usage: dfd score")[0]
    for verb in (*LIGHTNING_VERBS, *PLAIN_VERBS):
        assert f" {verb} " in page


@pytest.mark.slow
def test_the_help_of_fit_waits_for_no_more_than_lightning():
    code = (
        "import sys; from dfd.cli import main\n"
        "main(['fit', '--help'])\n"
        "assert not (late := {'timm', 'wandb', 'albumentations'} & set(sys.modules)), late"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_verb_is_listed_once_by_the_module_of_its_area():
    areas = {
        "data",
        "forensics",
        "detect",
        "serve",
        "watch",
        "judge",
        "models",
        "baselines",
        "study",
        "cluster",
    }
    folder = Path(dfd.__file__).with_name("commands")
    assert {path.stem for path in folder.glob("*.py")} == areas | {"__init__"}
    listed = []
    for area in areas:
        module = importlib.import_module(f"dfd.commands.{area}")
        public = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        own = [
            name
            for name in public
            if not name.startswith("_") and vars(module)[name].__module__ == module.__name__
        ]
        assert [verb.__name__ for verb in module.VERBS] == own, f"{area}: VERBS in the order of the file"
        listed += module.VERBS
    assert sorted(verb.__name__.replace("_", "-") for verb in listed) == sorted(PLAIN_VERBS)


def test_nothing_at_all_shows_the_help(capsys):
    assert main([]) == 0
    assert "prepare" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fti"], ["'fti'", "Did you mean fit?"]),
        (["score"], ["CHECKPOINT"]),
        (["score", "x.ckpt", "x.jpg", "--csv", "--json"], ["--csv requires an argument"]),
        (["inspect", "x.jpg"], ["dfd inspect: --out is missing. dfd inspect --help"]),
        (["inspect", "x.jpg", "--out"], ["--out requires an argument"]),
        (["score", "x.ckpt", "x.jpg", "--jsn"], ["--jsn", "--json"]),
        (["prepare", "somewhere"], ["--out"]),
        (["prepare", "somewhere", "--out", "x", "--workers", "many"], ["--workers", "many"]),
        (
            ["prepare", "somewhere", "--out", "x", "--match", "jpeg=90,size=224"],
            ["Unknown option", "--match"],
        ),
        (["prepare", "somewhere", "--out", "x", "--shard", "3/16"], ["Unknown option", "--shard"]),
        (["audit", "somewhere", "--leaks"], ["Unknown option", "--leaks"]),
        (["prepare", "somewhere", "--out", "x", "--taks", "3/16"], ["Did you mean", "--task"]),
        (["reencod", "somewhere"], ["Did you mean reencode?"]),
        (["score", "x.ckpt", "x.jpg", "--csv", ""], ["--csv has an empty value"]),
        (["score", "x.ckpt", "x.jpg", "--csv="], ["--csv has an empty value"]),
        (["score", "x.ckpt", ""], ["one of the names is empty"]),
        (["export", "x.ckpt", "--out", ""], ["--out has an empty value"]),
        (["audit", "somewhere", "--out", ""], ["--out has an empty value"]),
    ],
)
def test_a_wrong_command_line_ends_with_two(capsys, args, words):
    fails(capsys, args, *words, code=2)


def test_faults_of_the_input_lose_their_traceback_and_bugs_keep_it(capsys, monkeypatch):
    def index_root(root: Path, allow_leaks: bool, max_rejected: float | None) -> None:
        raise {"input": ValueError("no shards"), "disk": OSError(28, "no space"), "bug": KeyError("ours")}[
            root.name
        ]

    monkeypatch.setattr("dfd.prepare.index.index_root", index_root)
    fails(capsys, ["index", "input"], "dfd index: no shards")
    fails(capsys, ["index", "disk"], "dfd index: no space")
    with pytest.raises(KeyError):
        main(["index", "bug"])
    monkeypatch.setenv("DFD_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no shards"):
        main(["index", "input"])


# configs and options


@pytest.mark.parametrize("name", ["dual_stream", "dual_stream.yaml", "configs/dual_stream.yaml"])
def test_a_config_is_found_by_name_outside_the_checkout(capsys, name):
    assert config_of(capsys, "fit", "--config", name)["model"]["class_path"] == "dfd.tasks.ClassificationTask"


def test_our_own_configs_come_before_those_of_the_current_folder(capsys):
    Path("dual_stream.yaml").write_text((config_folder() / "small_cnn.yaml").read_text())
    for name, net in (("dual_stream", "DualStream"), ("./dual_stream.yaml", "SingleStream")):
        config = config_of(capsys, "fit", "--config", name)
        assert config["model"]["init_args"]["net"]["class_path"] == f"dfd.models.{net}"


def test_overlays_and_flags_lie_on_top_of_a_config_that_names_another(capsys):
    Path("mine").mkdir()
    # its `data: data/toy.yaml` is not beside it
    Path("mine/own.yaml").write_text((config_folder() / "dual_stream.yaml").read_text())
    Path("over.yaml").write_text(
        "data: {init_args: {batch_size: 12, num_workers: 0}}\ntrainer: {max_epochs: 3}"
    )
    flags = [
        "--data.batch_size=16",
        "--data.view.longest=null",
        "--model.net.rgb.width=8",
        "--model.optimizer.lr=0.5",
    ]
    config = config_of(capsys, "fit", "--config", "mine/own.yaml", "--config", "over.yaml", *flags)
    data = config["data"]
    assert data["class_path"] == "dfd.data.ToyDataModule"
    assert (data["init_args"]["batch_size"], data["init_args"]["num_workers"]) == (16, 0)
    assert data["init_args"]["view"]["longest"] is None
    assert config["trainer"]["max_epochs"] == 3 and not config["trainer"]["use_distributed_sampler"]
    assert config["model"]["init_args"]["net"]["init_args"]["rgb"]["init_args"]["width"] == 8
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["model", "--config"]),
        (["--config", "dual_strem"], ["'dual_strem'", "Did you mean dual_stream.yaml"]),
        (
            ["--trainer.max_epoch=3"],
            ["trainer.max_epoch.", "Did you mean trainer.max_epochs"],
        ),  # argparse would complete it
        (["--trainer.max_epoch", "3"], ["Did you mean trainer.max_epochs"]),
        (["--lr", "1e-3"], ["Did you mean --model.optimizer.lr?"]),
        (["--learning-rate=1e-3"], ["Did you mean --model.optimizer.lr?"]),
        (
            ["--model.lr=1e-3"],
            ["ClassificationTask has no option 'lr'", "Did you mean --model.optimizer.lr?"],
        ),
        (["--epochs=3"], ["Did you mean --trainer.max_epochs?"]),
        (["--batch_size", "3"], ["Did you mean --data.batch_size?"]),
        (["--model.net=my_package.nets.MyNet"], ["no package 'my_package'", "is its folder on PYTHONPATH?"]),
        (["--trainer.callbacks+=mine.Mine"], ["no package 'mine'", "PYTHONPATH"]),
        (["--trainer.max_epochs=three"], ["trainer.max_epochs", "int", "'three'"]),
        (["--data.batchsize=3"], ["ToyDataModule", "Did you mean batch_size"]),
        (["--data.init_args.view.sise=3"], ["ToyDataModule.view", "Did you mean size"]),
        (
            ["--model.net.class_path=dfd.models.DualStrem"],
            ["dfd.models.DualStrem", "Did you mean dfd.models.DualStream"],
        ),
        (["--model.net.rgb.widht=3"], ["model.net.rgb", "Did you mean width"]),
        (["--model.nett.rgb.width=3"], ["ClassificationTask has no option 'nett'", "Did you mean net?"]),
        (["--model.net.rbg.width=3"], ["DualStream has no option 'rbg'", "Did you mean rgb?"]),
        (["--data.veiw.size=3"], ["ToyDataModule has no option 'veiw'", "Did you mean view?"]),
        (["--modle.net.rgb.width=3"], ["modle.net.rgb.width", "Did you mean model?"]),
        (
            ["--model=dfd.tasks.AdversarialTask", "--model.warmpu=1"],
            ["Did you mean warmup", "attack"],
        ),  # behind **kwargs
        (["--model.net.fft=dfd.models.TimmBackbone"], ["model.net.fft: it needs a value for name"]),
        (["--data.augment.preset=stron"], ["data.augment.preset: 'stron'", "Did you mean strong?"]),
        (["--model.net.rgb=dfd.modles.SmallCNN"], ["Did you mean dfd.models.SmallCNN"]),
        (["--model.optimizer.lrr=3"], ["model.optimizer", "AdamW", "Did you mean lr"]),
        (["--model.optimizer=torch.optim.AdamX"], ["torch.optim.AdamX", "torch.optim.Adam"]),
        (["--model=dfd.data.ToyDataModule"], ["no LightningModule"]),
        (["--trainer.callbacks+=dfd.callbacks.Curvs"], ["Did you mean dfd.callbacks.Curves"]),
        (["dual_stream"], ["what is 'dual_stream'", "a config is named by --config dual_stream"]),
    ],
)
def test_a_wrong_option_is_named_with_what_was_meant(capsys, args, words):
    named = "--config" in args or not args
    fails(capsys, ["fit", *([] if named else ["--config", "dual_stream"]), *args], *words, code=2)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainer: {max_epoch: 3}", ["Did you mean trainer.max_epochs"]),
        ("modle: 1", ["there is no option modle. Did you mean model"]),
        ("trainr: {max_epochs: 3}", ["Did you mean trainer.max_epochs"]),
        (
            "trainer: {callbacks: [{class_path: dfd.callbacks.Curves, init_args: {evry: 2}}]}",
            ["Curves has no option 'evry'"],
        ),
        (
            "model: {init_args: {net: {init_args: {fft: {class_path: dfd.models.SmallCNM}}}}}",
            ["model.net.fft", "dfd.models.SmallCNN"],
        ),
        ("trainer: [1,\n2", ["over.yaml, line 2"]),
        ("just a word", ["over.yaml is not a config"]),
        (f"trainer: {'[' * 5000}", ["nested too deep"]),
        ("data: data/tyo.yaml", ["tyo.yaml"]),
    ],
)
def test_a_wrong_config_is_named_with_what_was_meant(capsys, text, words):
    Path("over.yaml").write_text(text)
    fails(capsys, ["fit", "--config", "dual_stream", "--config", "over.yaml"], *words, code=2)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data=dfd.data.ShardDataModule", "--data.roots=nowhere"], ["nowhere", "dfd prepare"]),
        (["--data=dfd.data.ShardDataModule", "--data.roots=."], ["dfd prepare"]),
        ([*SMALL, "--data.batch_size=0"], ["fit: data.batch_size=0: it takes"]),
        ([*SMALL, "--data.batch_size=500"], ["500"]),
        ([*SMALL, "--data.view.size=3"], ["fit: data.view.size=3 is"]),
        ([*SMALL, "--data.augment.p=3"], ["fit: data.augment.p=3.0 is"]),
        (
            [*SMALL, "--data.corruption=dfd.augment.Corruption", "--data.corruption.name=jpg"],
            ["fit: data.corruption: corr"],
        ),
        ([*SMALL, "--trainer.callbacks.num_images=5"], ["fit: trainer.callbacks.num_images=5 cannot"]),
        ([*SMALL, "--model.optimizer.lr=-1"], ["fit: model.optimizer: Invalid learning rate"]),
        (
            [*TIMM, "--model.net.rgb.name=tset_resnet"],
            ["fit: model.net.rgb: timm", "'tset_resnet'", "test_resnet"],
        ),
        (
            [*TIMM, "--model.net.rgb.pretrained=gone.pth"],
            ["fit: model.net.rgb.pretrained='gone.pth': there is no"],
        ),
        (
            [*TIMM, "--model.net.rgb.pretrained=text.ckpt"],
            ["fit: model.net.rgb.pretrained='text.ckpt' is no file of weights"],
        ),
        ([*TIMM, "--model.net.rgb.options={bad: 1}"], ["model.net.rgb: timm cannot make a ", "'bad'"]),
        ([*SMALL, "--trainer.max_epochs=0"], ["trainer.max_epochs=0: nothing would be trained"]),
        ([*SMALL, "--trainer.accelerator=tpu"], ["trainer.accelerator=tpu", "auto, ", "cpu"]),
        ([*SMALL, "--run_folder=taken"], ["taken", "--run_folder"]),
        ([*SMALL, "--run_folder=/proc/dfd"], ["/proc/dfd", "--run_folder"]),
        ([*SMALL, "--ckpt_path=text.ckpt"], ["text.ckpt"]),
        ([*SMALL, "--trainer.max_time=5min"], ["trainer.max_time=5min", "00:08:00:00"]),
        ([*SMALL, "--data.seed=18446744073709551616"], ["data.seed=18446744073709551616", "2^63"]),
    ],
)
def test_input_that_does_not_fit_ends_with_one(capsys, args, words):
    Path("taken").write_text("a file")
    Path("text.ckpt").write_text("no checkpoint")
    fails(capsys, ["fit", "--config", "dual_stream", "--config", "overlay/smoke", *args], *words)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["--data.batch_size=0", "--data.batch_size=500"])
def test_a_fault_before_the_first_step_leaves_no_folder(capsys, monkeypatch, wrong):
    monkeypatch.setenv("WANDB_MODE", "offline")  # W&B's files are there before the data is looked at
    fails(capsys, [*FIT, wrong], wrong.partition("=")[2])
    assert not Path("runs").exists()
    fails(capsys, [*FIT, wrong, "--run_folder=new/run"], wrong.partition("=")[2])
    assert not Path("new").exists() and Path.cwd().exists(), "the current folder is empty, and the user's"
    mine = Path("mine")
    mine.mkdir()
    fails(capsys, [*FIT, wrong, "--run_folder=mine/run"], wrong.partition("=")[2])
    assert not any(mine.iterdir()), "what was there stays, even empty"
    (mine / "notes.txt").write_text("mine")
    fails(capsys, [*FIT, wrong, "--run_folder=mine"], wrong.partition("=")[2])
    assert (mine / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data.mix=MixUp"], ["data.mix", "Did you mean dfd.augment.MixUp?"]),
        (
            ["--data", "data/140k.yaml"],
            ["would undo what --config overlay/smoke says of the data", "Put --data before it"],
        ),
    ],
)
def test_what_would_be_ignored_is_refused(capsys, args, words):
    fails(capsys, [*FIT, *args], *words, code=2)


@pytest.mark.parametrize("verb", [*LIGHTNING_VERBS, *PLAIN_VERBS])
def test_help_shows_no_escape_of_what_cannot_be_printed(capsys, verb):
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert (
        not re.search(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|[abfrtv])", shown)
        and shown.replace("\n", "").isprintable()
    )
    assert verb not in LIGHTNING_VERBS or "--print_config[=flags]" in shown


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_help_begins_with_what_to_type(capsys, verb):
    assert main([verb, "--help"]) == 0
    first, _, *examples = capsys.readouterr().out.splitlines()
    assert (
        first == f"usage: dfd {verb} " + ("--config CONFIG" if verb == "fit" else "CHECKPOINT") + " [options]"
    )
    assert sum(line.startswith(f"  dfd {verb} ") for line in examples[:4]) == 2
    assert main([verb, "--data.help=dfd.data.ShardDataModule"]) == 0
    assert "--data.roots" in capsys.readouterr().out


# runs


def test_a_run_folder_holds_what_the_run_was_and_made(small_run):
    found = {path.relative_to(small_run).as_posix() for path in small_run.rglob("*")}
    assert {
        "config.yaml",
        "metrics.csv",
        "summary.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "plots",
    } <= found
    summary = yaml.safe_load((small_run / "summary.yaml").read_text())
    assert (
        summary["best checkpoint"].endswith(f"{small_run.name}/checkpoints/best.ckpt")
        and "best val/auroc" in summary
    )
    assert summary["trained on"].startswith("train split of ") and "Augment('light')" in summary["trained on"]
    config = yaml.safe_load((small_run / "config.yaml").read_text())
    assert (
        "run_folder" not in config
        and config["model"]["init_args"]["net"]["init_args"]["backbone"]["init_args"]["width"] == 8
    )
    with (small_run / "metrics.csv").open() as table:
        assert any(row["val/auroc"] for row in csv.DictReader(table))


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "judged"), [(1, [0]), (3, [1, 2])])
def test_the_net_that_a_run_ends_with_is_judged_and_saved(epochs, judged):
    rarely = [f"--trainer.max_epochs={epochs}", "--trainer.check_val_every_n_epoch=2", "--run_folder=run"]
    assert main([*FIT, "--model.net.backbone.width=8", *rarely]) == 0
    last = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 2 * epochs and Path("run/checkpoints/best.ckpt").exists()
    with open("run/metrics.csv", newline="") as file:
        assert [int(line["epoch"]) for line in csv.DictReader(file) if line["val/auroc"]] == judged


def test_where_the_run_lies_is_said_first_and_last(capsys):
    assert main([*FIT, "--model.net.backbone.width=8", "--run_folder=here"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run folder: here"
    assert "best checkpoint: here/checkpoints/best.ckpt" in lines and "table: here/metrics.csv" in lines
    assert any(line.startswith("epoch 1/1") and "val/auroc" in line for line in lines)


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_the_config_that_a_user_passes_is_not_replaced(capsys, run_here, verb):
    config = (run_here / "config.yaml").read_text().partition("\n")[2] + "# mine\n"
    Path("config.yaml").write_text(config)
    here, files = sorted(Path.cwd().iterdir()), sorted(run_here.rglob("*"))
    judged = [] if verb == "fit" else [f"--ckpt_path={run_here / 'checkpoints/best.ckpt'}"]
    args = [verb, "--config", "config.yaml", "--run_folder", ".", *judged]
    fails(capsys, args, "config.yaml is there already, and dfd did not write it", "--run_folder")
    assert Path("config.yaml").read_text() == config and sorted(Path.cwd().iterdir()) == here
    if verb != "fit":
        checkpoint = run_here / "checkpoints/best.ckpt"
        fails(capsys, [verb, checkpoint, f"--run_folder={run_here}"], "holds what dfd fit wrote")
        assert sorted(run_here.rglob("*")) == files


@pytest.mark.slow
def test_a_saved_config_runs_again_under_the_same_name(small_run, run_here):
    assert main(["fit", "--config", str(run_here / "config.yaml")]) == 0
    assert len(list(Path("runs/small_cnn").iterdir())) == 2
    first, second = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
        for folder in Path("runs/small_cnn").iterdir()
    )
    for name, value in first["state_dict"].items():
        torch.testing.assert_close(value, second["state_dict"][name])


def test_a_finished_run_is_not_trained_over(capsys, run_here):
    before = (run_here / "checkpoints/best.ckpt").stat().st_mtime_ns
    fails(
        capsys,
        [*FIT, f"--run_folder={run_here}"],
        "finished run",
        "--run_folder",
        "--ckpt_path runs/small_cnn/",
        "last.ckpt",
    )
    assert (run_here / "checkpoints/best.ckpt").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_requeued_job_goes_on_in_its_own_folder(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_JOB_NAME", "dfd-fit")
    # not cut short: an epoch of the resumed run must be an epoch
    command = [*FIT, "--model.net.backbone.width=8", "--trainer.limit_train_batches=1.0"]
    assert main(command) == 0
    steps = torch.load("runs/small_cnn/77/checkpoints/last.ckpt", weights_only=True)["global_step"]
    Path("runs/small_cnn/77/summary.yaml").unlink()  # as if the job had been stopped
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main([*command, "--trainer.max_epochs=2"]) == 0
    assert [path.name for path in Path("runs/small_cnn").iterdir()] == ["77"]
    done = torch.load("runs/small_cnn/77/checkpoints/last.ckpt", weights_only=True)
    assert (done["epoch"], done["global_step"]) == (1, 2 * steps)


@pytest.mark.slow
def test_a_checkpoint_is_judged_alone_and_offline(capsys, run_here, monkeypatch):
    def refused(*args):
        raise AssertionError("somebody asked the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    checkpoint = run_here / "checkpoints/best.ckpt"
    for verb, stage in (("validate", "val"), ("test", "test"), ("predict", "predict")):
        assert main([verb, str(checkpoint), "--data.num_workers=0"]) == 0
        folder = run_here.with_name(f"{run_here.name}-{verb}")
        with (folder / f"predictions-{stage}.csv").open() as table:
            rows = list(csv.DictReader(table))
        assert rows and {row["split"] for row in rows} == {"val" if verb == "validate" else "test"}
        assert all(0 <= float(row["prob"]) <= 1 for row in rows)
        assert f"predictions: runs/small_cnn/{folder.name}/predictions-{stage}.csv" in capsys.readouterr().out
    with (run_here.with_name(f"{run_here.name}-test") / "predictions-test.csv").open() as table:
        tested = {row["key"]: row["logit"] for row in csv.DictReader(table)}
    assert tested == {row["key"]: row["logit"] for row in rows}  # what predict says is what test measures


def test_judging_twice_keeps_both_results(run_here):
    for _ in range(2):
        assert main(["test", str(run_here / "checkpoints/best.ckpt"), "--config", "overlay/smoke"]) == 0
    names = {path.name.removeprefix(run_here.name) for path in Path("runs/small_cnn").iterdir()}
    assert names == {"", "-test", "-test-2"}


def test_other_data_is_seen_as_the_checkpoint_saw_its_own(capsys, run_here):
    init_args = "{num_images: 36, picture: 64, toy_seed: 1, view: {size: 48, longest: 48}}"
    Path("other.yaml").write_text(f"class_path: dfd.data.ToyDataModule\ninit_args: {init_args}")
    args = ["test", str(run_here / "checkpoints/best.ckpt"), "--data", "other.yaml"]
    data = config_of(capsys, *args)["data"]["init_args"]
    assert (data["toy_seed"], data["view"]["size"], data["view"]["longest"]) == (1, 32, 64)
    assert config_of(capsys, *args, "--data.view.size=40")["data"]["init_args"]["view"]["size"] == 40


def test_pretrained_is_off_when_a_checkpoint_is_judged(capsys, run_here):
    path = run_here / "checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    backbone = {
        "class_path": "dfd.models.TimmBackbone",
        "init_args": {"name": "test_resnet", "pretrained": "gone.safetensors"},
    }
    net = {"class_path": "dfd.models.SingleStream", "init_args": {"backbone": backbone}}
    from dfd.models import build

    weights = {f"net.{name}": value for name, value in build(net).state_dict().items()}
    others = {
        name: value
        for name, value in checkpoint["state_dict"].items()
        if not name.startswith(("net.", "average."))
    }
    torch.save(
        {**checkpoint, "state_dict": {**others, **weights}, "dfd": {**checkpoint["dfd"], "net": net}}, path
    )
    config = config_of(capsys, "test", str(path))
    assert config["model"]["init_args"]["net"]["init_args"]["backbone"]["init_args"]["pretrained"] is False


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_what_is_no_checkpoint_is_refused(capsys, verb):
    Path("text.ckpt").write_text("no checkpoint")
    torch.save({"state_dict": {}}, "foreign.ckpt")
    fails(capsys, [verb, "text.ckpt"], "text.ckpt")
    fails(capsys, [verb, "foreign.ckpt"], "foreign.ckpt", "dfd")
    fails(capsys, [verb, "gone.ckpt"], "gone.ckpt")
    fails(capsys, [verb], "CHECKPOINT", code=2)
    fails(capsys, [verb, "--config", "dual_stream"], "CHECKPOINT", code=2)


def test_a_finished_checkpoint_is_not_gone_on_from(capsys, run_here):
    for name in ("best", "last"):
        checkpoint = run_here / f"checkpoints/{name}.ckpt"
        words = ["is the end of epoch 1", "trainer.max_epochs=1", "--trainer.max_epochs=11"]
        fails(capsys, [*FIT, "--model.net.backbone.width=8", f"--ckpt_path={checkpoint}"], checkpoint, *words)
    torch.save({"state_dict": {}, "dfd": {}}, "weights.ckpt")
    fails(capsys, [*FIT, "--ckpt_path=weights.ckpt"], "weights.ckpt", "without the state")


def test_a_run_that_came_further_than_its_limit_now_says_is_not_gone_on_with(capsys, run_here):
    (run_here / "summary.yaml").unlink()  # as if it had been killed
    last = run_here / "checkpoints/last.ckpt"
    again = [*FIT, "--model.net.backbone.width=8", f"--run_folder={run_here}"]
    words = ["is of step 2, and trainer.max_steps=1", "--trainer.max_steps=1002"]
    fails(capsys, [*again, "--trainer.max_steps=1"], last.name, *words)
    # a longer one, of which only the number is other
    stored = torch.load(last, weights_only=True)
    for place in ("current", "total"):
        stored["loops"]["fit_loop"]["epoch_progress"][place].update(
            ready=4, started=4, processed=4, completed=3
        )
    save_sealed(stored, last)
    (run_here / "checkpoints/best.ckpt").unlink()
    words = ["is the end of epoch 4, and trainer.max_epochs=2", "--trainer.max_epochs=14"]
    fails(capsys, [*again, "--trainer.max_epochs=2"], last.name, *words)


def judged(capsys, *args):
    """What a judging run says, and the line of its metrics.csv that measures it."""
    capsys.readouterr()
    assert main([*map(str, args), "--run_folder=judged"]) == 0
    with Path("judged/metrics.csv").open() as table:
        (line,) = csv.DictReader(table)
    return " ".join(capsys.readouterr().out.split()), line


@pytest.mark.slow
def test_a_judging_run_says_of_which_pictures_it_speaks(capsys, run_here):
    jpeg = [
        "--data.corruption=dfd.augment.Corruption",
        "--data.corruption.name=jpeg",
        "--data.corruption.severity=75",
    ]
    said, line = judged(capsys, "test", run_here / "checkpoints/best.ckpt", *jpeg, "--data.num_images=120")
    assert f"test split of {line['roots']}, after Corruption('jpeg', 75)" in said and "optimistic" not in said
    assert (line["split"], line["corruption"], line["val_augment"]) == ("test", "Corruption('jpeg', 75)", "")
    assert (
        Path(line["roots"]).is_dir()
        and float(line["test/num_images"]) == 12
        and float(line["test/num_groups"]) == 2
    )
    for name in ("auroc", "acc", "balanced_acc"):
        assert (
            float(line[f"test/{name}_low"]) <= float(line[f"test/{name}"]) <= float(line[f"test/{name}_high"])
        )


@pytest.mark.slow
def test_a_folder_is_judged_in_again_by_the_same_verb_and_by_no_other(capsys, run_here):
    checkpoint = run_here / "checkpoints/best.ckpt"
    _, line = judged(capsys, "test", checkpoint)
    assert Path("judged/config.yaml").read_text().startswith("# The resolved config, written by dfd test.")
    assert judged(capsys, "test", checkpoint)[1] == line
    files = {path: path.read_bytes() for path in Path("judged").rglob("*.*")}
    for verb in ("validate", "predict"):
        fails(capsys, [verb, checkpoint, "--run_folder=judged"], "judged holds what dfd test wrote")
    assert {path: path.read_bytes() for path in Path("judged").rglob("*.*")} == files


def test_validation_says_what_it_saw_and_that_it_flatters(capsys, run_here):
    delivery = ["--data.val_augment=dfd.augment.Augment", "--data.val_augment.preset=delivery"]
    said, line = judged(capsys, "validate", run_here / "checkpoints/best.ckpt", *delivery)
    assert f"val split of {line['roots']}, after Augment('delivery', p=0.5)" in said
    assert "optimistic" in said and "dfd test" in said
    assert (line["split"], line["corruption"], line["val_augment"]) == (
        "val",
        "",
        "Augment('delivery', p=0.5)",
    )


def test_a_table_can_go_to_the_screen(capsys, run_here):
    Image.new("RGB", (80, 80)).save("black.png")
    assert main(["score", str(run_here / "checkpoints/best.ckpt"), "black.png", "--whole", "--csv", "-"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["path"], row["status"]) == ("black.png", "ok")


def test_a_checkpoint_may_not_choose_code_to_run(capsys, run_here):
    path = run_here / "checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for key in ("net", "task", "data"):
        torch.save(
            {**checkpoint, "dfd": {**checkpoint["dfd"], key: {"class_path": "os.system", "init_args": {}}}},
            path,
        )
        fails(capsys, ["test", str(path)], "os.system")
    hidden = {"class_path": "dfd.data.ToyDataModule", "init_args": {"view": {"class_path": "os.system"}}}
    torch.save({**checkpoint, "dfd": {**checkpoint["dfd"], "data": hidden}}, path)
    fails(capsys, ["test", str(path)], "os.system")


@pytest.mark.slow
def test_a_checkpoint_of_another_net_is_refused(capsys, run_here):
    checkpoint = f"--ckpt_path={run_here / 'checkpoints/best.ckpt'}"
    fails(
        capsys,
        [*FIT, "--trainer.max_epochs=2", "--model.net.backbone.width=16", checkpoint],
        "another net",
        "width is 16, was 8",
    )
    args = ["--config", "dual_stream", "--config", "overlay/smoke", *SMALL]
    fails(capsys, ["test", *args, checkpoint], "another net", "SingleStream", "DualStream")


def test_data_that_is_gone_is_named_with_the_way_out(capsys, run_here):
    path = run_here / "checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    data = {"class_path": "dfd.data.ShardDataModule", "init_args": {"roots": "shards/gone"}}
    torch.save({**checkpoint, "dfd": {**checkpoint["dfd"], "data": data}}, path)
    fails(capsys, ["test", str(path)], "shards/gone", "--data.roots")


@pytest.mark.slow
def test_what_every_rank_runs_into_is_said_once():
    command = [sys.executable, "-m", "dfd.cli", *FIT, "--config", "overlay/ddp", "--data.batch_size=5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.count("data.batch_size=5") == 1 and "Traceback" not in done.stderr
    assert not Path("runs").exists()
