"""Lets PyPI's torchvision load beside a CPU build of torch.

PyPI's torchvision is linked against CUDA. Beside a CPU-only torch its compiled operators do not load, and
`import torchvision` (so timm, torchmetrics and lightning too) dies with "operator torchvision::nms does not
exist", because its Python side registers shape functions for operators that were never declared. Declaring
the two schemas lets the import pass; calling them still fails, and dfd never does. Where the operators did
load, nothing is done.
"""

import importlib.abc
import sys


class _DeclareMissingOperators(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision._meta_registrations":
            sys.meta_path.remove(self)  # once is enough; a second Library on one schema would raise
            from torchvision.extension import _has_ops

            if not _has_ops():
                import torch

                library = torch.library.Library("torchvision", "FRAGMENT")
                for name in ("nms", "qnms"):
                    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                self.library = library  # the schemas live as long as this object
                _keep.append(self)
        return None


_keep: list[object] = []


def install() -> None:
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _DeclareMissingOperators())
