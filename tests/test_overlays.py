"""What the overlays promise, by real trainings: the same numbers, or as near as the arithmetic allows."""

import os
import shutil
from csv import DictReader
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from ranks import dfd

from dfd.cli import main
from dfd.data import ToyDataModule, View
from dfd.detector import load_net
from dfd.models import SingleStream, SmallCNN, TimmBackbone
from dfd.models.seal import previous
from dfd.tasks import ClassificationTask
from dfd.training.sync_batchnorm import SyncBatchNorm

SMALL_TOY = [
    "--data.num_images=120",
    "--data.picture=96",
    "--data.view.size=48",
    "--data.view.longest=96",
    "--data.view.crops=1",
]
FIT = [
    "fit",
    "--config",
    "small_cnn",
    "--config",
    "overlay/smoke.yaml",
    *SMALL_TOY,
    "--model.net.backbone.width=8",
]
INTERRUPTER = '''
import os, signal
from lightning.pytorch import Callback
from dfd import distributed

distributed.BLOCK = int(os.environ.get("BLOCK", distributed.BLOCK))  # so that blocks of a small net are sharded by themselves


class Interrupter(Callback):
    """Tells its process to end as batch AT of the run begins, the first time that it runs there."""

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        done = os.path.join(trainer.default_root_dir, "interrupted")
        batches = trainer.fit_loop.epoch_loop.batch_progress.total.ready - 1
        if batches == int(os.environ.get("AT", -1)) and trainer.is_global_zero and not os.path.exists(done):
            open(done, "w").close()
            os.kill(os.getpid(), signal.SIGTERM)
'''


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlays")
    (folder / "interrupter.py").write_text(INTERRUPTER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFD_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        patch.chdir(folder)
        yield folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def different(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def logits(run: str) -> torch.Tensor:
    """Of a validation of the run's last checkpoint."""
    assert main(["validate", f"{run}/checkpoints/last.ckpt", "--run_folder", f"{run}-judged"]) == 0
    lines = Path(f"{run}-judged/predictions-val.csv").read_text().splitlines()[1:]
    return torch.tensor([float(line.split(",")[3]) for line in lines], dtype=torch.float64)


# gradient accumulation


@pytest.fixture
def toy(here):
    def make(batch_size: int) -> ToyDataModule:
        view = View(size=48, crops=1, longest=96)
        return ToyDataModule(120, 96, view=view, batch_size=batch_size, num_workers=0)

    return make


def trained(data: ToyDataModule, **options) -> ClassificationTask:
    torch.manual_seed(0)
    # no BatchNorm, whose statistics are those of a batch
    net = SingleStream(TimmBackbone("test_vit"), dropout=0.0)
    task = ClassificationTask(net, lambda weights: torch.optim.SGD(weights, lr=0.05), ema_decay=0.5)
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    plain = {"accelerator": "cpu", "max_epochs": 2, "limit_val_batches": 0, "use_distributed_sampler": False}
    Trainer(**quiet, **plain, **options).fit(task, data)
    return task


# a whole number of windows; a last one of two batches; nothing but one of two
@pytest.mark.slow
@pytest.mark.parametrize(("small", "large", "steps"), [(8, 2, 2), (6, 2, 2), (2, 1, 1)])
def test_batches_that_are_accumulated_equal_one_large_batch(toy, small, large, steps):
    short = steps * 4 - small  # batches that the last window lacks
    split = trained(toy(4), accumulate_grad_batches=4, limit_train_batches=small)
    if not short:
        whole = trained(toy(16), limit_train_batches=large)
    elif small == 2:
        whole = trained(toy(8), limit_train_batches=large)
    else:  # by hand: the same steps with the mean over what each of them holds
        whole = by_hand(toy(4), small)
    assert split.average.n_averaged == 2 * steps, "the average moves with the steps"
    before = dict(SingleStream(TimmBackbone("test_vit")).named_parameters())
    for name, value in whole.eval_net.state_dict().items():
        torch.testing.assert_close(split.eval_net.state_dict()[name], value, rtol=1e-5, atol=2e-6)
    assert any(not torch.equal(before[name], value) for name, value in split.eval_net.named_parameters())


def by_hand(data: ToyDataModule, batches: int) -> ClassificationTask:
    """Two epochs of windows of four batches, without Lightning's loop."""
    from dfd.tasks.schedule import cosine_with_warmup

    torch.manual_seed(0)
    task = ClassificationTask(SingleStream(TimmBackbone("test_vit"), dropout=0.0), ema_decay=0.5)
    data.prepare_data()
    data.setup("fit")
    optimizer, step = torch.optim.SGD(task.net.parameters(), lr=0.05), 0
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.batch_sampler.position = lambda _, epoch=epoch: (epoch, 0)
        given = [
            data.on_after_batch_transfer(batch, 0) for batch, _ in zip(loader, range(batches), strict=False)
        ]
        for at in range(0, batches, 4):
            window = given[at : at + 4]
            image, label = (torch.cat([batch[name] for batch in window]) for name in ("image", "label"))
            optimizer.param_groups[0]["lr"] = 0.05 * cosine_with_warmup(step, 2 * -(-batches // 4), 0.05)
            optimizer.zero_grad()
            task.loss(task.net(image), label).backward()
            optimizer.step()
            task.average.update_parameters(task.net)
            step += 1
    return task


ACCUMULATED = ["--config", "overlay/accumulate", "--trainer.max_epochs=2", "--trainer.limit_train_batches=10"]
ACCUMULATED += ["--model.ema_decay=.9", "--trainer.callbacks+=interrupter.Interrupter"]


# in the first window; the last batch of one; in the second epoch's last one, which is short: told there, it
# runs to the end
@pytest.mark.slow
@pytest.mark.parametrize(("world", "at"), [(1, 1), (1, 3), (1, 16), (2, 5)])
def test_a_cut_within_an_accumulation_window_waits_for_its_end(here, world, at):
    whole = here / f"accumulated-{world}"
    if not whole.exists():
        dfd(*FIT, *ACCUMULATED, "--run_folder", whole.name, world=world, cwd=here)
    run = f"accumulated-{world}-cut-{at}"
    options = [
        *FIT,
        *ACCUMULATED,
        "--trainer.callbacks+=dfd.callbacks.Preemption",
        "--trainer.callbacks.every_n_batches=1",
    ]
    dfd(*options, "--run_folder", run, world=world, cwd=here, code=143, AT=str(at))
    cut = torch.load(here / run / "checkpoints" / "last.ckpt", weights_only=True)
    assert cut["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] % 4 == 0
    said = dfd(*options, "--run_folder", run, world=world, cwd=here)
    assert "goes on from" in said and "WARNING" not in said
    assert different(weights(here / run), weights(whole)) == []


@pytest.mark.slow
def test_a_checkpoint_from_within_a_window_is_told_apart(here, capsys):
    options = [
        "--trainer.limit_train_batches=7",
        "--trainer.accumulate_grad_batches=4",
        "--trainer.val_check_interval=6",
    ]
    assert main([*FIT, *options, "--run_folder", "within"]) == 0
    capsys.readouterr()
    last = Path("within/checkpoints/last.ckpt")
    previous(last).rename("within.ckpt")  # of the validation after batch 6, before the end's
    again = [
        "--ckpt_path",
        "within.ckpt",
        "--trainer.max_epochs=2",
        "--run_folder",
        "within-again",
    ]
    assert main([*FIT, *options, *again]) == 0
    assert "the gradients of 2 of 4 batches are lost" in capsys.readouterr().err


# mixed precision, memory layout, compilation


@pytest.mark.slow
def test_bfloat16_and_channels_last_leave_weights_and_logits_in_full_precision(here):
    for name, overlays in {
        "full": [],
        "half": ["--config", "overlay/bf16", "--model.channels_last=true"],
    }.items():
        assert main([*FIT, *overlays, "--run_folder", name, "--trainer.limit_val_batches=1.0"]) == 0
    assert {value.dtype for name, value in weights(here / "half").items() if name.endswith("weight")} == {
        torch.float32
    }
    assert different(weights(here / "half"), weights(here / "full")), "the layers did compute in bfloat16"
    eval_net = [
        "validate",
        "half/checkpoints/last.ckpt",
        "--config",
        "overlay/bf16",
        "--run_folder",
        "half-judged-in-half",
    ]
    assert main(eval_net) == 0
    lines = Path("half-judged-in-half/predictions-val.csv").read_text().splitlines()[1:]
    half = torch.tensor([float(line.split(",")[3]) for line in lines], dtype=torch.float64)
    full = logits("half")
    assert (half != half.bfloat16().double()).float().mean() > 0.8 and torch.equal(
        half, half.float().double()
    )
    assert 0 < (half - full).abs().max() < 0.02


@pytest.mark.slow
def test_the_layout_is_a_choice(here):
    assert main([*FIT, "--model.channels_last=false", "--run_folder", "contiguous"]) == 0
    assert main([*FIT, "--model.channels_last=true", "--run_folder", "last"]) == 0
    one, other = logits("contiguous"), logits("last")
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    seen = []
    for channels_last in (False, True):
        task = ClassificationTask(SingleStream(SmallCNN(width=8)), channels_last=channels_last)
        task.net.backbone.stem[0].register_forward_hook(lambda *given: seen.append(given[2].stride()[1] == 1))
        image = torch.zeros(2, 32, 32, 3).movedim(-1, 1)  # as the data module gives it
        task(image)
        task.eval()(image[:, None].expand(2, 2, 3, 32, 32))
    assert seen == [False, False, True, True]


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler on the CPU"
)
def test_a_compiled_net_leaves_no_trace_in_its_checkpoint(here):
    from torch._dynamo.utils import counters

    counters.clear()
    options = ["--config", "overlay/compile", "--model.ema_decay=.5", "--trainer.limit_train_batches=1"]
    assert main([*FIT, *options, "--trainer.limit_val_batches=1", "--run_folder", "compiled"]) == 0
    assert counters["stats"]["unique_graphs"] >= 2, "the net that trains and the average that judges"
    assert not [name for name in weights(here / "compiled") if "_orig_mod" in name]
    eval_net = [
        "validate",
        "compiled/checkpoints/last.ckpt",
        "--trainer.limit_val_batches=1",
        "--run_folder",
        "eager",
    ]
    assert main(eval_net) == 0
    losses = [(here / run / "metrics.csv").read_text().splitlines() for run in ("compiled", "eager")]
    compiled, eager = (
        next(float(each["val/nll"]) for each in DictReader(lines) if each["val/nll"]) for lines in losses
    )
    assert compiled == pytest.approx(eager, rel=1e-4)


# BatchNorm over all ranks


@pytest.mark.parametrize(
    "backbone", [SmallCNN(width=8), TimmBackbone("mobilenetv2_100"), TimmBackbone("test_efficientnet")]
)
def test_layers_are_shared_and_given_back_with_all_that_they_hold(backbone):
    from types import SimpleNamespace

    task = ClassificationTask(SingleStream(backbone), ema_decay=0.9).eval()
    kinds = [type(module) for module in task.modules()]
    strategy = SimpleNamespace(world_size=2, root_device=torch.device("cuda"))
    task._trainer = SimpleNamespace(strategy=strategy)
    image = torch.rand(2, 3, 64, 64)
    before, state = task(image), task.state_dict()
    sync = SyncBatchNorm()
    shared = sync.apply(task)
    norms = [
        module for module in shared.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    ]
    assert norms and all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
    assert torch.equal(shared(image), before), "activations within timm's layers too"
    assert shared.state_dict().keys() == state.keys()
    norms[-1].running_mean = norms[-1].running_mean + 1  # as moving to a device does: a new tensor
    back = sync.revert(shared)
    assert [type(module) for module in back.modules()] == kinds
    assert not torch.equal(back(image), before), "with what they have learnt"


@pytest.mark.slow
def test_sharing_batchnorm_on_the_cpu_is_refused_and_one_process_has_nothing_to_share(here):
    said = dfd(
        *FIT, "--config", "overlay/sync_batchnorm", "--run_folder", "shared", world=2, code=1, cwd=here
    )
    assert "sync_batchnorm needs GPUs" in said and "Traceback" not in said
    dfd(*FIT, "--config", "overlay/sync_batchnorm", "--run_folder", "alone", cwd=here)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="shared BatchNorm needs two GPUs")
def test_two_gpus_share_batchnorm(here):
    options = ["--config", "overlay/sync_batchnorm", "--trainer.accelerator=gpu", "--trainer.devices=2"]
    code = os.spawnlp(os.P_WAIT, "dfd", "dfd", *FIT, *options, "--run_folder", "gpus")
    assert code == 0
    load_net("gpus/checkpoints/last.ckpt")


# FSDP2


SHARDED = [
    "--config",
    "overlay/fsdp2",
    "--model.ema_decay=.9",
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=3",
]
ATTACK = "--trainer.callbacks.attack={class_path: dfd.augment.FGSM, init_args: {eps: 2}}"
SHARDED += ["--trainer.limit_val_batches=1.0", "--trainer.callbacks+=interrupter.Interrupter"]


@pytest.mark.slow
def test_a_sharded_training_is_the_plain_one_and_its_checkpoint_is_anybodys(here):
    # as sharded weights lie in memory
    options = [*FIT, *SHARDED, "--model.channels_last=false", "--run_folder"]
    dfd(*options, "sharded", world=2, cwd=here, BLOCK="1000")
    dfd(*options, "copied", "--trainer.strategy=ddp", world=2, cwd=here)
    sharded, copied = weights(here / "sharded"), weights(here / "copied")
    assert sharded.keys() == copied.keys() and all(type(value) is torch.Tensor for value in sharded.values())
    for name, value in copied.items():
        torch.testing.assert_close(sharded[name], value, rtol=1e-5, atol=1e-6, msg=name)
    load_net("sharded/checkpoints/best.ckpt")
    # 12 images in batches of 5, 5 and 2: the ranks judge different numbers of them
    eval_net = [
        "validate",
        "sharded/checkpoints/last.ckpt",
        "--data.batch_size=5",
        "--model.channels_last=false",
        "--run_folder",
    ]
    dfd(*eval_net, "by-two", "--config", "overlay/fsdp2", world=2, cwd=here)
    dfd(*eval_net, "by-one", cwd=here)
    assert (here / "by-two/predictions-val.csv").read_bytes() == (
        here / "by-one/predictions-val.csv"
    ).read_bytes()


@pytest.mark.slow
def test_a_sharded_training_goes_on_to_the_bit(here):
    dfd(*FIT, *SHARDED, "--run_folder", "sharded-whole", world=2, cwd=here)
    options = [
        *FIT,
        *SHARDED,
        "--trainer.callbacks+=dfd.callbacks.Preemption",
        "--trainer.callbacks.every_n_batches=1",
    ]
    dfd(*options, "--run_folder", "sharded-cut", world=2, cwd=here, code=143, AT="4")
    assert "goes on from" in dfd(*options, "--run_folder", "sharded-cut", world=2, cwd=here)
    assert different(weights(here / "sharded-cut"), weights(here / "sharded-whole")) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--config", "overlay/sync_batchnorm"], "sync_batchnorm has no effect on sharded nets"),
        (["--trainer.callbacks+=dfd.callbacks.AttackStats", ATTACK], "cannot attack"),
    ],
)
def test_what_cannot_be_sharded_is_refused_in_a_line(here, options, said):
    text = dfd(
        *FIT, "--config", "overlay/fsdp2", *options, "--run_folder", "refused", world=2, code=1, cwd=here
    )
    assert said in text and "Traceback" not in text
