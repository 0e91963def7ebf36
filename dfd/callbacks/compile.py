"""torch.compile for the nets of a task, without a trace in their checkpoints."""

from typing import Literal

from lightning import Callback, LightningModule, Trainer


class Compile(Callback):
    """Compiles the net that is trained, and the one that judges, in place: the names of their weights stay as
    they are.

    The first steps wait for the compiler, a minute or more, and so does each new shape of a batch. On the CPU
    torch needs a C++ compiler.

    Args:
        mode: of torch.compile; "max-autotune" takes longer to begin and may run faster.
        dynamic: whether one compilation serves batches of several sizes; None lets torch find out.
    """

    def __init__(
        self,
        mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = "default",
        dynamic: bool | None = None,
    ):
        self.mode, self.dynamic = mode, dynamic

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        for net in {task.net, getattr(task, "eval_net", task.net)}:
            # not torch.compile(net): that is another module, under whose name every weight would be saved
            net.compile(mode=self.mode, dynamic=self.dynamic)
