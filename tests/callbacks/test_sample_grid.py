from types import SimpleNamespace

import pytest
import torch

from dfd.callbacks import SampleGrid


class Painter:
    def __init__(self):
        self.asked = []

    def pictures(self, num):
        self.asked.append(num)
        return torch.rand(num, 3, 16, 16)


def trainer(folder, epoch, **more):
    facts = dict(current_epoch=epoch, global_step=7, is_global_zero=True, sanity_checking=False, loggers=[])
    return SimpleNamespace(default_root_dir=folder, state=SimpleNamespace(fn="fit"), **facts | more)


@pytest.mark.slow
def test_a_task_s_pictures_are_drawn_now_and_then_and_at_the_end(tmp_path):
    grid, task = SampleGrid(num_images=10, every_n_epochs=2), Painter()
    for epoch in range(4):
        grid.on_validation_end(trainer(tmp_path, epoch), task)
    grid.on_fit_end(trainer(tmp_path, 4), task)  # the epoch that was drawn a moment ago
    grid.on_fit_end(trainer(tmp_path, 5), task)
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        f"samples-epoch00{epoch}.png" for epoch in (2, 4, 5)
    }
    assert task.asked == [10, 10, 10]


def test_nothing_is_drawn_by_other_ranks_or_before_the_training(tmp_path):
    grid, task = SampleGrid(num_images=2, every_n_epochs=1), Painter()
    grid.on_validation_end(trainer(tmp_path, 0, sanity_checking=True), task)
    grid.on_fit_end(trainer(tmp_path, 1, is_global_zero=False), task)
    assert not task.asked and not (tmp_path / "plots").exists()


@pytest.mark.parametrize("options", [{"num_images": 0}, {"every_n_epochs": 0}])
def test_options_that_draw_nothing_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}=0"):
        SampleGrid(**options)
