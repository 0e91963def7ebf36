"""Small runs for tests: options of a toy set that is drawn in a second, and a fit of two steps."""

from pathlib import Path

import pytest

from dfd.cli import main

# 36 drawings of 64 px, judged on crops of 32
SMALL = ["--data.num_images=36", "--data.picture=64", "--data.view.size=32", "--data.view.longest=64"]
# 120 drawings of 128 px, large enough for pooling nets and for both classes in each split
SMALL_TOY = ["--data.num_images=120", "--data.picture=128", "--data.view.size=64", "--data.view.longest=128"]
FIT = ["fit", "--config", "small_cnn", "--config", "overlay/smoke", *SMALL]


def small_fit(folder: Path, *options: str) -> Path:
    """The run folder of a finished fit below `folder`: runs/small_cnn/ID."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "disabled")
        assert main([*FIT, "--model.net.backbone.width=8", *options]) == 0
        (run,) = Path("runs/small_cnn").absolute().iterdir()
    return run
