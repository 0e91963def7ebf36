"""Each way of fine-tuning changes exactly the weights that it names, and goes on from a checkpoint."""

import copy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from dfd.detector import load_net
from dfd.inference.export import export
from dfd.models import (
    BayarConv,
    CueFusion,
    DualStream,
    Net,
    SingleStream,
    SmallCNN,
    TimmBackbone,
    build,
    recipe,
)
from dfd.models.depth import distances
from dfd.tasks import (
    ClassificationTask,
    FineTuning,
    GradualUnfreezing,
    LayerDecay,
    LinearProbe,
    LoRA,
    NormLayers,
    StayPositive,
)

OVERLAYS = Path(__file__).parents[2] / "configs" / "overlay"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def cnn() -> SingleStream:
    torch.manual_seed(0)
    # else gains of zero would keep all gradients from the blocks
    return SingleStream(TimmBackbone("test_resnet", options={"zero_init_last": False}), dropout=0.0)


def small() -> SingleStream:
    torch.manual_seed(0)
    return SingleStream(SmallCNN(4), dropout=0.0)


def vit() -> SingleStream:
    torch.manual_seed(0)
    return SingleStream(TimmBackbone("test_vit"), dropout=0.0)


class Pictures(torch.utils.data.Dataset):
    """Eight pictures of noise, fakes brighter than reals."""

    def __len__(self):
        return 8

    def __getitem__(self, row):
        noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(row))
        label = row % 2
        return {"image": (noise + label) / 2, "label": label, "row": row // 2, "valid": True}


def train(task, epochs=1, ckpt_path=None, **options):
    data = DataLoader(Pictures(), batch_size=4)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
        **options,
    )
    trainer.fit(task, data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.5)


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def trained(net, finetune, epochs=1, **options):
    """Names of the weights and buffers that a training changed, and its task."""
    task = ClassificationTask(net, adamw, finetune=finetune, familiarity=False, **options)
    before = copy.deepcopy(task.net.state_dict())
    train(task, epochs)
    return changed(before, task.net.state_dict()), task


def weights(net, *parts):
    """Names of the weights that hold one of the parts, or begin with it."""
    return {name for name, _ in net.named_parameters() if any(part in f".{name}" for part in parts)}


def statistics(net):
    return {name for name, _ in net.named_buffers() if name.endswith(STATISTICS)}


HEAD = {"head.weight", "head.bias"}


def test_full_fine_tuning_changes_all_weights_and_statistics():
    moved, task = trained(cnn(), FineTuning())
    assert moved == {name for name, _ in task.net.named_parameters()} | statistics(task.net)


@pytest.mark.parametrize("make", [cnn, vit, small])
def test_a_linear_probe_changes_the_head_alone(make):
    moved, task = trained(make(), LinearProbe())
    assert moved == HEAD
    assert not any(part.training for part in task.net.backbone.modules()) and task.net.dropout.training


@pytest.mark.parametrize("finetune", [LinearProbe, NormLayers, StayPositive])
def test_weights_that_stand_still_as_they_were_drawn_are_warned_of(finetune):
    with pytest.warns(UserWarning, match="random weights that it was drawn with"):
        trained(small(), finetune())


@pytest.mark.parametrize("finetune", [FineTuning, LayerDecay, GradualUnfreezing])
def test_where_all_weights_learn_in_the_end_nobody_is_warned(finetune, recwarn):
    trained(small(), finetune())
    assert not [each for each in recwarn if "drawn with" in str(each.message)]


def test_norm_layers_change_gains_offsets_and_the_head():
    moved, task = trained(vit(), NormLayers())
    norms = weights(task.net, ".norm")
    assert moved == norms | HEAD and len(norms) == 26
    # of a CNN, whose BatchNorm keeps its statistics unless it is told otherwise
    moved, task = trained(cnn(), NormLayers())
    norms = {
        name.rpartition(".")[0] + suffix for name in statistics(task.net) for suffix in (".weight", ".bias")
    }
    assert moved == norms | HEAD
    moved, task = trained(cnn(), NormLayers(statistics=True))
    assert moved == norms | HEAD | statistics(task.net)


def test_layers_learn_the_more_slowly_the_nearer_to_the_image_they_are():
    task = ClassificationTask(
        vit(), lambda weights: torch.optim.SGD(weights, lr=1.0), finetune=LayerDecay(0.5)
    )
    trainer = train(task, max_steps=1)
    layers = distances(task.net)
    rates = {
        id(weight): group["lr"] for group in trainer.optimizers[0].param_groups for weight in group["params"]
    }
    top = rates[id(task.net.head.weight)]
    assert top > 0 and {layers[f"head.{name}"] for name in ("weight", "bias")} == {0}
    for name, weight in task.net.named_parameters():
        assert rates[id(weight)] == pytest.approx(top * 0.5 ** layers[name]), name
    # a block of a transformer is a layer, and what comes before the first one too
    assert layers["backbone.model.norm.weight"] == layers["backbone.model.blocks.5.mlp.fc1.weight"] == 1
    assert layers["backbone.model.blocks.0.attn.qkv.weight"] == 6 and layers["backbone.model.pos_embed"] == 7


def test_depth_is_counted_in_each_stream_and_by_parts_where_a_backbone_does_not_say():
    net = DualStream(SmallCNN(4), TimmBackbone("test_resnet"))
    layers = distances(net)
    assert (layers["rgb.stem.0.weight"], layers["rgb.stages.2.skip.1.weight"], layers["head.bias"]) == (
        4,
        1,
        0,
    )
    assert layers["fft.model.conv1.0.weight"] == 5 and layers.keys() == dict(net.named_parameters()).keys()

    class Own(Net):
        num_features = 2

        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)

    assert set(distances(SingleStream(Own())).values()) == {0, 1, 2}


def test_layers_join_one_after_the_other():
    finetune = GradualUnfreezing(epochs=1, layers=2)
    net = cnn()
    layers = distances(net)
    assert max(layers.values()) == 5
    for epochs, joined in ((1, 0), (2, 2)):
        moved, task = trained(cnn(), finetune, epochs)
        learnt = {name for name in layers if layers[name] <= joined}
        still = {name.rpartition(".")[0] for name in layers if layers[name] > joined}
        norms = {name for name in statistics(task.net) if name.rpartition(".")[0] not in still}
        assert moved == learnt | norms, epochs
    moved, task = trained(cnn(), GradualUnfreezing(epochs=1, layers=5), 2)
    assert moved == set(layers) | statistics(task.net)
    assert all(part.training for part in task.net.modules())


class Signed(Net):
    """Features that may be negative."""

    num_features = 6

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 6)

    def forward(self, image):
        return self.linear(image.mean((2, 3)) - 0.5)


def test_a_stay_positive_head_is_never_below_zero_and_alone_in_moving():
    lowest = []  # weight of the head before and after each clamp

    class Watched(StayPositive):
        def after_step(self, net):
            before = float(net.head.weight.detach().min())
            super().after_step(net)
            lowest.append((before, float(net.head.weight.detach().min())))

    net = cnn()
    torch.nn.init.normal_(net.head.weight)
    moved, task = trained(net, Watched(), 3, ema_decay=0.5)
    assert moved == HEAD
    assert lowest[0][0] < -1, "a trained head has weights on both sides"
    assert any(before < 0 for before, _ in lowest[1:]), "else the clamp after a step is not tried"
    assert all(after >= 0 for _, after in lowest) and float(task.eval_net.head.weight.min()) >= 0
    with pytest.raises(ValueError, match=r"below zero\. Use --model\.net\.rectify=true"):
        trained(SingleStream(Signed()), StayPositive())
    rectified, _ = trained(SingleStream(Signed(), rectify=True), StayPositive())
    assert rectified == HEAD


@pytest.mark.parametrize(
    "finetune",
    [LinearProbe, NormLayers, LayerDecay, lambda: GradualUnfreezing(layers=2), StayPositive],
    ids=["linear_probe", "norm_layers", "layer_decay", "gradual", "stay_positive"],
)
def test_a_resumed_training_ends_where_the_whole_one_does(finetune, tmp_path):
    def task():
        return ClassificationTask(cnn(), adamw, finetune=finetune(), familiarity=False)

    _resumes(task, tmp_path)


class Keep(Callback):
    """Saves a checkpoint after the second step."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.path)


def _resumes(task, tmp_path):
    """Its nets have no dropout: what a step draws is the trainer's affair."""
    whole, again = task(), task()
    train(whole, 2, callbacks=[Keep(tmp_path / "cut.ckpt")])
    first = torch.load(tmp_path / "cut.ckpt", weights_only=True)["state_dict"]
    train(again, 2, tmp_path / "cut.ckpt")
    assert not changed(whole.net.state_dict(), again.net.state_dict())
    assert any(not torch.equal(first[f"net.{name}"], value) for name, value in again.net.state_dict().items())


def test_a_training_begins_with_the_weights_of_a_detector_and_remembers_its_pictures(tmp_path):
    before = ClassificationTask(cnn(), adamw, familiarity=False)
    trainer = train(before)
    before.seen = {"train": torch.arange(3)}
    trainer.save_checkpoint(tmp_path / "before.ckpt")
    start = load_net(tmp_path / "before.ckpt")[0].state_dict()
    fresh = cnn()
    torch.nn.init.ones_(fresh.head.weight)
    assert changed(fresh.state_dict(), start)
    task = ClassificationTask(fresh, init_from=str(tmp_path / "before.ckpt"))
    assert not changed(task.net.state_dict(), start) and task.seen["train"].tolist() == [0, 1, 2]
    assert task.calibrated_on is None
    other = r"init_from=.* another net \(SingleStream\).*missing: backbone.model.cls_token"
    with pytest.raises(ValueError, match=other):
        ClassificationTask(vit(), init_from=str(tmp_path / "before.ckpt"))
    with pytest.raises(ValueError, match="There is no checkpoint"):
        ClassificationTask(cnn(), init_from=str(tmp_path / "none.ckpt"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LayerDecay(0), "decay=0 is a share"),
        (lambda: GradualUnfreezing(epochs=0), "epochs=0: nothing would be unfrozen"),
        (lambda: LinearProbe().prepare(SmallCNN(4)), "SmallCNN has no layer `head`"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_each_overlay_names_a_way_of_fine_tuning():
    """The command line reads one of them (tests/test_configs.py), and they differ in this alone."""
    ways = {}
    for path in OVERLAYS.glob("*.yaml"):
        arguments = yaml.safe_load(path.read_text()).get("model", {}).get("init_args", {})
        if made := arguments.get("finetune"):
            assert path.read_text().startswith("# A second --config")
            assert arguments.keys() <= {"finetune", "optimizer"}
            home, _, name = made["class_path"].rpartition(".")
            assert home == "dfd.tasks"
            way = getattr(__import__(home, fromlist=[name]), name)(**made.get("init_args", {}))
            ways[path.stem] = type(way)
    assert set(ways.values()) == {LinearProbe, GradualUnfreezing, LayerDecay, NormLayers, LoRA, StayPositive}


def test_what_is_new_on_top_of_a_backbone_learns_with_the_head():
    net = CueFusion(SmallCNN(8))
    new = {name for name, _ in net.named_parameters() if not name.startswith("backbone.")}
    assert {name.partition(".")[0] for name in new} == {"head", "hidden", "cue_head"}
    assert LinearProbe().learning(net) == new <= NormLayers().learning(net)
    still = LinearProbe().still(net, 0)
    assert net.standardize not in still and all(part is not net.hidden for part in still)
    learnt = DualStream(SmallCNN(8), SmallCNN(8, 3), spectrum=BayarConv())
    assert not any(name.startswith("spectrum.") for name in LinearProbe().learning(learnt))
    away = distances(learnt)
    assert away["spectrum.around"] > max(n for name, n in away.items() if not name.startswith("spectrum."))


# LoRA: peft takes seconds to import


@pytest.fixture(scope="module")
def peft():
    """Of the environment, or of the folder in it where `make test` puts it."""
    apart = str(Path(sys.prefix) / "lora")
    sys.path.append(apart)
    yield pytest.importorskip("peft", reason="dfd[lora] is not installed")
    sys.path.remove(apart)


@pytest.mark.slow
@pytest.mark.parametrize("make", [vit, cnn, small])
def test_lora_changes_corrections_and_head_and_begins_as_the_net_was(peft, make):
    plain = copy.deepcopy(make()).eval()
    image = torch.rand(2, 3, 32, 32)
    task = ClassificationTask(make(), adamw, finetune=LoRA(rank=2), familiarity=False)
    torch.testing.assert_close(task.net.eval()(image), plain(image))
    moved, task = trained(make(), LoRA(rank=2))
    corrections = {name for name, _ in task.net.named_parameters() if ".lora_" in name}
    assert moved == corrections | {f"net.{name}" for name in HEAD}
    assert corrections and not any(".head." in name for name in corrections)


@pytest.mark.slow
def test_lora_is_rebuilt_to_the_bit_resumed_and_judged_merged(peft, tmp_path):
    def task():
        return ClassificationTask(vit(), adamw, finetune=LoRA(rank=2), familiarity=False)

    _resumes(task, tmp_path)
    image = torch.rand(2, 3, 32, 32)
    net, card = load_net(tmp_path / "cut.ckpt", merge=False)
    again = build(recipe(net))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(image), net(image))
    merged, plain = load_net(tmp_path / "cut.ckpt")
    assert type(merged) is SingleStream and plain.net == recipe(merged) != card.net
    assert changed(vit().state_dict(), merged.state_dict()) > HEAD
    torch.testing.assert_close(merged(image), net(image), rtol=1e-5, atol=1e-6)
    export(tmp_path / "cut.ckpt", tmp_path / "net.safetensors")
    exported, card = load_net(tmp_path / "net.safetensors")
    assert torch.equal(exported(image), merged(image)) and card.net == plain.net


@pytest.mark.slow
def test_lora_corrects_the_layers_that_it_is_told(peft):
    net = ClassificationTask(vit(), finetune=LoRA(targets=["qkv"])).net
    corrected = {name for name, _ in net.named_parameters() if ".lora_A." in name}
    assert len(corrected) == 6 and all(".attn.qkv.lora_A." in name for name in corrected)
    with pytest.raises(ValueError, match=r"targets='query' is no linear layer .* end in .*qkv"):
        LoRA(targets=["query"]).prepare(vit())


def test_lora_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install 'dfd\[lora\]'"):
        LoRA().prepare(cnn())
    with pytest.raises(ValueError, match="rank=0"):
        LoRA(rank=0).prepare(cnn())
