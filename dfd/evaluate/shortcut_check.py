"""Callback of `dfd test` and `dfd validate`: the shortcuts beside the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from rich.console import Console

from dfd.audit.shortcuts import Shortcut
from dfd.distributed import gather_objects
from dfd.evaluate.shortcuts import (
    COLOR,
    FILE_FACTS,
    ShownColors,
    ask_color,
    ask_files,
    asked_rows,
    matches,
    reached,
    told,
)


class ShortcutCheck(Callback):
    """Asks what file facts alone and colour alone reach on the pictures of an evaluation, logs it as
    test/file_facts_auroc and test/color_auroc with their intervals, and prints it beside the detector's
    AUROC: in red where a shortcut can match it.

    Some two thousand pictures are asked about, whole families, the same ones each time.
    """

    def __init__(self) -> None:
        self._colors: ShownColors | None = None
        self._label: dict[int, int] = {}
        self.found: list[Shortcut] = []

    def on_test_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._begin(trainer, "test")

    def on_validation_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._begin(trainer, "val")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        task: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        loader: int = 0,
    ) -> None:
        self._add(batch)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        task: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        loader: int = 0,
    ) -> None:
        if trainer.state.fn == "validate":
            self._add(batch)

    def on_test_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._ask(trainer, task, "test")

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._ask(trainer, task, "val")

    def on_test_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._print(trainer, "test")

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._print(trainer, "val")

    def _begin(self, trainer: Trainer, split: str) -> None:
        data = trainer.datamodule
        self._label, self.found, self._colors = {}, [], None
        if data is None:
            return
        rows = data.rows(split)
        contents = getattr(data, "contents", None)
        if contents is not None and (rows >= len(contents)).any():
            return  # fakes that are made of the reals beside them: they never were files that could tell
        # a data module of one's own tells labels by its batches alone
        label = np.zeros(len(rows), np.int64) if contents is None else contents.label[rows]
        self._colors = ShownColors(asked_rows(rows, label, data.describe(rows)["family"]))

    def _add(self, batch: Any) -> None:
        if self._colors is None:
            return
        row, valid = batch["row"].cpu().numpy(), batch["valid"].cpu().numpy()
        wanted = valid & self._colors.wants(row)
        if wanted.any():
            image = batch["image"][torch.from_numpy(wanted).to(batch["image"].device)]
            crops = image.movedim(-3, -1).mul(255).round().byte().cpu().numpy()
            self._colors.add(row[wanted], crops)
            self._label.update(
                zip(row[wanted].tolist(), batch["label"].cpu().numpy()[wanted].tolist(), strict=True)
            )

    def _ask(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        parts = gather_objects(None if self._colors is None else (self._colors.found, self._label))
        self._colors = None
        if parts[0] is None:
            return
        found = self._reached(trainer.datamodule, parts) if trainer.is_global_zero else []
        self.found = gather_objects(found)[0]  # all ranks log the same numbers
        for shortcut in self.found:
            name = f"{stage}/{shortcut.name}_auroc"
            task.log_dict({name: shortcut.auroc, f"{name}_low": shortcut.low, f"{name}_high": shortcut.high})

    def _reached(self, data: Any, parts: list[Any]) -> list[Shortcut]:
        color = {row: each for found, _ in parts for row, each in found.items()}
        of_row = {row: each for _, label in parts for row, each in label.items()}
        rows = np.array(sorted(color), np.int64)
        label = np.array([of_row[row] for row in rows.tolist()], np.int64)
        family = data.describe(rows)["family"]
        contents = getattr(data, "contents", None)
        files = None if contents is None else ask_files(contents, rows, label, family)
        return [
            reached(FILE_FACTS, files, rows),
            reached(COLOR, ask_color(color, rows, label, family), rows),
        ]

    def _print(self, trainer: Trainer, stage: str) -> None:
        auroc = float(trainer.callback_metrics.get(f"{stage}/auroc", float("nan")))
        if not trainer.is_global_zero or not self.found or np.isnan(auroc):
            return
        console = Console(markup=False, highlight=False, emoji=False)
        for shortcut in self.found:
            style = "bold red" if matches(shortcut, auroc) else None
            console.print(told(shortcut, auroc), style=style, soft_wrap=True)
