"""Sample grids of a generator or an autoencoder: what it makes of the same input, through the training."""

from __future__ import annotations

from lightning import Callback, LightningModule, Trainer

from dfd.callbacks.publish import only_a_warning, publish


class SampleGrid(Callback):
    """Draws a task's `pictures(num)` to plots/samples-epoch<NNN>.png and into the logger: a GANTask's
    generated faces, an AutoencoderTask's reals with their reconstructions.

    Their latents or reals are the same at every interval and in every run, so that one follows a picture
    through the training.

    Args:
        num_images: in rows of eight.
        every_n_epochs: None draws once, at the end of the fit; a number draws at such validations as well.
    """

    def __init__(self, num_images: int = 32, every_n_epochs: int | None = None):
        if num_images < 1:
            raise ValueError(
                f"num_images={num_images}: there is nothing to draw. Use 32, or leave the callback out."
            )
        if every_n_epochs is not None and every_n_epochs < 1:
            raise ValueError(
                f"every_n_epochs={every_n_epochs} must be 1 or more, or null for the end of the fit alone."
            )
        self.num_images, self.every_n_epochs = num_images, every_n_epochs
        self._drawn: str | None = None

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        due = self.every_n_epochs and epoch % self.every_n_epochs == 0
        if due and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._draw(trainer, task, epoch)

    def on_fit_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._draw(trainer, task, trainer.current_epoch)  # counts finished epochs by now

    def _draw(self, trainer: Trainer, task: LightningModule, epoch: int) -> None:
        name = f"samples-epoch{epoch:03d}"
        if not trainer.is_global_zero or name == self._drawn:
            return
        with only_a_warning(name):
            from dfd.plots import image_grid  # matplotlib: a second that `dfd fit --help` need not wait for

            image = task.pictures(self.num_images).permute(0, 2, 3, 1).float().cpu().numpy()
            title = f"After epoch {epoch}, {trainer.global_step} steps"
            columns = min(8, len(image))
            publish(trainer, image_grid(list(image), [""] * len(image), columns=columns, title=title), name)
            self._drawn = name
