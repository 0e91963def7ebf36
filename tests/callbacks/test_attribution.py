import pytest
import torch
from PIL import Image

from dfd import plots
from dfd.callbacks import AttributionGrid
from dfd.models import SingleStream, SmallCNN
from dfd.tasks import ClassificationTask


@pytest.fixture
def drawn(monkeypatch):
    """What was handed to the figure, each time."""
    calls = []

    def record(images, captions, maps, columns, title):
        calls.append((images, captions, maps, columns, title))
        return figure(images, captions, maps, columns, title)

    figure = plots.image_grid
    monkeypatch.setattr(plots, "image_grid", record)
    return calls


@pytest.mark.slow
def test_the_end_of_a_fit_leaves_one_picture(tmp_path, trainer, task, data, drawn):
    trainer(AttributionGrid(num_images=4)).fit(task, datamodule=data)
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["attribution-epoch002.png"]
    assert min(Image.open(tmp_path / "plots" / "attribution-epoch002.png").size) > 300
    ((images, captions, maps, columns, title),) = drawn
    assert len(images) == len(captions) == len(maps) == 12 and columns == 6 and "epoch 2" in title
    # of the central crops, the classes by turns
    first = [torch.from_numpy(images[at]).permute(2, 0, 1) for at in (0, 3, 6, 9)]
    for image, row in zip(first, (0, 10, 1, 11), strict=True):
        assert torch.equal(image, torch.from_numpy(data.image[row, -1]))
    assert [caption.split("\n")[0] for caption in captions[:4]] == [
        "is real",
        "gradcam",
        "integrated gradients",
        "is fake",
    ]
    task.eval()
    for at, image in zip((0, 3, 6, 9), first, strict=True):
        prob = torch.sigmoid(task(image[None]).double() / task.calibration.temperature).item()
        assert captions[at].split("\n")[1] == f"P(fake) {prob:.3f}"
    assert "completeness error" in captions[2] and "completeness error" not in captions[1]
    for caption in captions[1:3]:
        assert "of random" in caption or "the same everywhere" in caption
    assert maps[0] is None and maps[1].shape == maps[2].shape == images[0].shape[:2]


@pytest.mark.slow
def test_the_same_pictures_at_every_interval(tmp_path, trainer, task, data, drawn):
    trainer(AttributionGrid(num_images=2, every_n_epochs=2), max_epochs=5).fit(task, datamodule=data)
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["attribution-epoch002.png", "attribution-epoch004.png", "attribution-epoch005.png"]
    assert all((images[0] == drawn[0][0][0]).all() for images, *_ in drawn)
    assert drawn[0][1] != drawn[1][1]  # but with the net of that epoch


@pytest.mark.slow
def test_the_fit_does_not_notice(trainer, data):
    def weights(*callbacks):
        torch.manual_seed(0)
        task = ClassificationTask(SingleStream(SmallCNN(width=8)))
        trainer(*callbacks).fit(task, datamodule=data)
        return task

    watched, alone = weights(AttributionGrid(num_images=2, every_n_epochs=1)), weights()
    for name, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    for module in watched.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
        assert not module._backward_pre_hooks
    assert [module.training for module in watched.modules()] == [
        module.training for module in alone.modules()
    ]
    assert [weight.requires_grad for weight in watched.parameters()] == [
        weight.requires_grad for weight in alone.parameters()
    ]


def test_a_map_that_fails_costs_the_run_nothing_and_leaves_the_training_modes(trainer, task, data, caplog):
    modes = []

    class Checks(AttributionGrid):
        def on_fit_end(self, trainer, task):
            task.net.head.eval()
            modes.append([module.training for module in task.modules()])
            super().on_fit_end(trainer, task)
            modes.append([module.training for module in task.modules()])

    trainer(Checks(num_images=2, methods=["no_such"])).fit(task, datamodule=data)
    assert "was left out" in caplog.text and "no_such" in caplog.text
    assert modes[0] == modes[1] and True in modes[0] and False in modes[0]


def test_the_average_is_explained_where_there_is_one(trainer, data, drawn):
    task = ClassificationTask(SingleStream(SmallCNN(width=8)), ema_decay=0.9)
    trainer(AttributionGrid(num_images=2, methods=["gradcam"])).fit(task, datamodule=data)
    image = torch.from_numpy(drawn[0][0][0]).permute(2, 0, 1)[None]
    task.eval()
    assert drawn[0][1][0].endswith(
        f"{torch.sigmoid(task.eval_net(image).double() / task.calibration.temperature).item():.3f}"
    )


def test_without_validation_it_says_so(tmp_path, trainer, task, data):
    with pytest.warns(UserWarning, match="no validation picture"):
        trainer(AttributionGrid(), limit_val_batches=0).fit(task, datamodule=data)
    assert not (tmp_path / "plots").exists()


def test_validating_alone_draws_nothing(tmp_path, trainer, task, data):
    trainer(AttributionGrid(every_n_epochs=1)).validate(task, datamodule=data, verbose=False)
    assert not (tmp_path / "plots").exists()


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"num_images=3 .* Use 4"):
        AttributionGrid(num_images=3)
    with pytest.raises(ValueError, match="every_n_epochs=0"):
        AttributionGrid(every_n_epochs=0)
