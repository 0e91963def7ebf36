"""Mask loss: a map of where pictures are forged, learnt beside the logit, and nothing changed without it."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.utils.data import DataLoader

from dfd.models import MaskStream, SingleStream, SmallCNN, TimmBackbone, build, recipe
from dfd.tasks import ClassificationTask
from dfd.tasks.mask_loss import MaskLoss

SIDE, PATCH = 32, 16


def blends(num, seed):
    """Noise, of which a square of the fakes is coarser and brighter: image (N, 3, S, S), label (N,), mask (N, S, S)."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.45, 0.12, (num, 3, SIDE, SIDE))
    mask, label = np.zeros((num, SIDE, SIDE)), np.arange(num) % 2
    for at in np.flatnonzero(label):
        top, left = rng.integers(0, SIDE - PATCH, 2)
        coarse = rng.normal(0.55, 0.12, (3, PATCH // 2, PATCH // 2)).repeat(2, 1).repeat(2, 2)
        image[at, :, top : top + PATCH, left : left + PATCH] = coarse
        mask[at, top : top + PATCH, left : left + PATCH] = 1
    return torch.from_numpy(image.clip(0, 1)).float(), torch.from_numpy(label), torch.from_numpy(mask).float()


def localization(net):
    """AUROC of the pixels of new blends."""
    image, label, mask = blends(24, seed=9)
    with torch.no_grad():
        where = net.eval().localize(image)[label == 1]
    return roc_auc_score(mask[label == 1].flatten(), where.flatten())


def batches(masks):
    found = []
    for seed in range(24):
        image, label, mask = blends(16, seed)
        batch = {
            "image": image,
            "label": label,
            "row": torch.arange(16),
            "valid": torch.ones(16, dtype=torch.bool),
        }
        mask[1] = float("nan")  # of a fake without a mask nobody knows where it is forged
        found.append(batch | ({"mask": mask} if masks else {}))
    return DataLoader(found, batch_size=None)


def fit(task, folder, masks=True):
    from lightning.pytorch import Trainer

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=1,
        limit_val_batches=0,
        accelerator="cpu",
        enable_checkpointing=False,
        **quiet,
    )
    trainer.fit(task, batches(masks))
    return trainer


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2)


def test_a_mask_head_learns_where_a_blend_is(tmp_path):
    torch.manual_seed(0)
    net = MaskStream(SmallCNN(8))
    net(torch.rand(4, 3, SIDE, SIDE))
    before = localization(net)
    net.train()
    trainer = fit(ClassificationTask(net, adamw, mask_loss=1.0, familiarity=False), tmp_path)
    assert localization(net) > 0.9 > 0.7 > before
    assert 0 < trainer.callback_metrics["train/mask_loss"] < 1.2
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


def test_batches_without_masks_are_refused(tmp_path):
    task = ClassificationTask(MaskStream(SmallCNN(8)), adamw, mask_loss=1.0, familiarity=False)
    with pytest.raises(ValueError, match=r"mask_loss=1 learns where .*--data\.masks true"):
        fit(task, tmp_path, masks=False)


def test_the_loss_wants_each_place_to_say_its_share():
    loss = MaskLoss()
    mask = torch.zeros(3, 16, 16)
    mask[0, :8, :4] = 1  # half of one place of a map of 2 x 2
    mask[2] = float("nan")
    place = torch.full((3, 1, 2, 2), -20.0)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    target = torch.tensor([[0.5, 0.0], [0.0, 0.0]])
    first = entropy(place[0, 0], target) + 1 - 1 / (0.5 + 1)  # nothing found of half a place
    torch.testing.assert_close(loss(place, mask), first / 2, rtol=1e-4, atol=1e-4)  # the real one has no loss
    place.requires_grad_()
    loss(place, mask).backward()
    assert place.grad[0].any() and not place.grad[2].any()
    assert loss(place, torch.full_like(mask, float("nan"))) == 0


@pytest.mark.parametrize("backbone", [lambda: SmallCNN(8), lambda: TimmBackbone("test_efficientnet")])
def test_a_mask_stream_judges_as_a_single_stream_of_the_same_weights(backbone):
    torch.manual_seed(0)
    net = MaskStream(backbone())
    plain = SingleStream(build(recipe(net.backbone)))
    plain.load_state_dict({key: value for key, value in net.state_dict().items() if "mask_head" not in key})
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(net.eval()(image), plain.eval()(image), rtol=1e-4, atol=1e-5)
    again = build(recipe(net))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval().localize(image), net.localize(image))


@pytest.mark.parametrize(
    ("words", "net", "weight"),
    [
        ("a SingleStream has no mask head to train", lambda: SingleStream(SmallCNN(8)), 1.0),
        ("mask_loss=-1", lambda: MaskStream(SmallCNN(8)), -1.0),
    ],
)
def test_a_net_and_the_weight_of_the_mask_loss_fit_one_another(words, net, weight):
    with pytest.raises(ValueError, match=words):
        ClassificationTask(net(), mask_loss=weight)


def test_a_fit_trains_the_mask_head_and_judging_asks_for_no_masks(tmp_path):
    task = ClassificationTask(MaskStream(SmallCNN(8)), adamw, familiarity=False)  # as `dfd test` makes it
    with pytest.raises(ValueError, match="a mask head that nothing would train"):
        fit(task, tmp_path)


def test_a_backbone_without_places_is_refused():
    with pytest.raises(ValueError, match="gives no features of places"):
        MaskStream(SingleStream(SmallCNN(8)))
