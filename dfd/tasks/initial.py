"""Initial weights of a training: those of a detector that was trained before."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from dfd.detector import load_net
from dfd.models import Net, recipe
from dfd.models.net import class_paths, difference, shapes


def begin_with(net: Net, checkpoint: str) -> dict[str, Tensor]:
    """Gives a net the weights of a checkpoint, and returns the fingerprints of the images that trained and
    chose them.

    The file may name code of dfd, and of the packages that the net itself comes from.

    Raises:
        ValueError: the file holds no detector, or the weights of another net.
    """
    named = {path.partition(".")[0] for path in class_paths(recipe(net))}
    before, card = load_net(Path(checkpoint), allow=named)
    if differs := difference(shapes(net), shapes(before)):
        raise ValueError(
            f"model.init_from={checkpoint!r} holds the weights of another net ({type(before).__name__}) than "
            f"the one to train: {differs}. Use the net of its config, or another checkpoint."
        )
    net.load_state_dict(before.state_dict())
    return dict(card.seen)
