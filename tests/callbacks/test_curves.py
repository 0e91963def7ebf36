from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from dfd.callbacks import Curves


class PictureLogger(CSVLogger):
    """Takes pictures as W&B's does."""

    def __init__(self, folder):
        super().__init__(folder)
        self.pictures = []

    def log_image(self, key, images, step=None):
        self.pictures.append((key, Image.open(images[0]).size, step))


@pytest.mark.slow
def test_curves_are_drawn_after_each_validation_and_test(tmp_path, trainer, task, data):
    logger = PictureLogger(tmp_path / "log")
    run = trainer(Curves(), logger=[logger, CSVLogger(tmp_path / "plain")])
    run.fit(task, datamodule=data)
    assert [(key, step) for key, _, step in logger.pictures] == [
        ("plots/val-curves", 4),
        ("plots/val-curves", 8),
    ]
    run.test(task, datamodule=data, verbose=False)
    assert logger.pictures[-1][0] == "plots/test-curves"
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"val-curves.png", "test-curves.png"}
    assert min(Image.open(tmp_path / "plots" / "test-curves.png").size) > 800


@pytest.mark.slow
def test_curves_keep_to_their_interval(tmp_path, trainer, task, data):
    logger = PictureLogger(tmp_path)
    trainer(Curves(every_n_epochs=2), logger=logger, max_epochs=3).fit(task, datamodule=data)
    assert len(logger.pictures) == 1
    trainer(Curves(every_n_epochs=2), logger=logger).validate(task, datamodule=data, verbose=False)
    assert len(logger.pictures) == 2  # asked for, so drawn


def test_other_ranks_draw_nothing(tmp_path):
    other = SimpleNamespace(
        is_global_zero=False, state=SimpleNamespace(fn="validate"), default_root_dir=tmp_path
    )
    Curves().on_validation_end(other, SimpleNamespace())
    Curves().on_test_end(other, SimpleNamespace())
    assert not list(tmp_path.iterdir())


def test_an_interval_of_no_epochs_is_refused():
    with pytest.raises(ValueError, match="every_n_epochs=0"):
        Curves(every_n_epochs=0)
