"""Attribution heat maps of the same few validation images, through the training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from scipy.special import expit
from torch import Tensor

from dfd.batch import FAKE, LABELS, REAL, Batch
from dfd.callbacks.publish import only_a_warning, publish
from dfd.eval_mode import eval_mode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dfd.explain import Faithfulness


class AttributionGrid(Callback):
    """Draws pictures beside their heat maps, with truth and P(fake), to plots/attribution-epoch<NNN>.png and
    into the logger. Under each map stands how many random orders of the picture's places it beats by deletion
    and insertion (`dfd.explain.faithfulness`): about half is chance.

    The pictures are the first of each class in the validation order, so they are the same at every interval
    and in every run on the same data. Of pictures judged by several crops it shows the central one, and
    P(fake) is that crop's.

    Args:
        num_images: even: half real, half fake.
        methods: names of `dfd.explain.METHODS`.
        every_n_epochs: None draws once, at the end of the fit; a number draws at such validations as well.
    """

    def __init__(
        self,
        num_images: int = 6,
        methods: Sequence[str] = ("gradcam", "integrated_gradients"),
        every_n_epochs: int | None = None,
    ):
        if num_images < 2 or num_images % 2:
            raise ValueError(
                f"num_images={num_images} cannot be half real and half fake. Use {max(2, num_images + 1)}."
            )
        if every_n_epochs is not None and every_n_epochs < 1:
            raise ValueError(
                f"every_n_epochs={every_n_epochs} must be 1 or more, or null for the end of the fit alone."
            )
        self.num_images, self.methods, self.every_n_epochs = num_images, tuple(methods), every_n_epochs
        self._seen: dict[int, list[Tensor]] = {REAL: [], FAKE: []}  # the first (3, H, W) of each class
        self._drawn: str | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        task: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        for label, seen in self._seen.items():
            for index in (
                torch.nonzero(batch["valid"] & (batch["label"] == label))
                .flatten()[: self.num_images // 2 - len(seen)]
                .tolist()
            ):
                image = batch["image"][index]
                # of several crops the central one is last
                seen.append((image[-1] if image.dim() == 4 else image).cpu().clone())

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if (
            self.every_n_epochs
            and not trainer.sanity_checking
            and trainer.state.fn == "fit"
            and epoch % self.every_n_epochs == 0
        ):
            self._draw(trainer, task, epoch)

    def on_fit_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._draw(trainer, task, trainer.current_epoch)  # counts finished epochs by now

    def _draw(self, trainer: Trainer, task: LightningModule, epoch: int) -> None:
        name = f"attribution-epoch{epoch:03d}"
        if not trainer.is_global_zero or name == self._drawn:
            return
        if isinstance(trainer.strategy, ModelParallelStrategy):
            rank_zero_warn(
                "AttributionGrid draws nothing: a rank by itself holds no more than its share of the net."
            )
            return
        pairs = zip_longest(*([(label, image) for image in seen] for label, seen in self._seen.items()))
        # real and fake by turns
        pictures = [picture for pair in pairs for picture in pair if picture is not None]
        if not pictures:
            rank_zero_warn("AttributionGrid has seen no validation picture, so there is nothing to draw.")
            return
        title = f"After epoch {epoch}. Red speaks for fake, blue for real; each map has its own scale."
        with only_a_warning(name):
            publish(trainer, self._grid(task, pictures, title), name)
            self._drawn = name

    def _grid(self, task: LightningModule, pictures: list[tuple[int, Tensor]], title: str) -> Figure:
        # captum, and below matplotlib: seconds that `dfd fit --help` need not wait for
        from dfd.explain import attribute, faithfulness, random_orders
        from dfd.plots import image_grid

        # gradients need tensors made outside inference mode, and full precision
        with (
            torch.inference_mode(False),
            torch.autocast(task.device.type, enabled=False),
            eval_mode(task.eval_net) as net,
        ):
            image = torch.stack([image for _, image in pictures]).to(task.device)  # (K, 3, H, W)
            with torch.no_grad():
                prob = expit(task.calibration(net(image).double().cpu().numpy())).tolist()
            found = {method: attribute(net, image, method) for method in self.methods}
            orders = [random_orders(net, each) for each in image]
            measured = {
                method: [
                    faithfulness(net, *each) for each in zip(image, attribution.map, orders, strict=True)
                ]
                for method, attribution in found.items()
            }
        images, captions, maps = [], [], []
        for index, (label, picture) in enumerate(pictures):
            images += [picture.permute(1, 2, 0).numpy()] * (1 + len(found))
            captions.append(f"is {LABELS[label]}\nP(fake) {prob[index]:.3f}")
            maps.append(None)
            for method, attribution in found.items():
                lines = [method.replace("_", " "), _beaten(measured[method][index])]
                if attribution.error is not None:
                    lines.append(f"completeness error {float(attribution.error[index]):.1%}")
                captions.append("\n".join(lines))
                maps.append(attribution.map[index].cpu().numpy())
        return image_grid(images, captions, maps, 2 * (1 + len(found)), title)


def _beaten(measured: Faithfulness) -> str:
    return "the same everywhere" if measured.empty else f"beats {measured.beaten:.0%} of random"
