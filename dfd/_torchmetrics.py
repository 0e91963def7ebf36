"""Lets torchmetrics, and so Lightning, load without scipy.signal.

torchmetrics imports it only to mend it for another package's audio metrics, which takes .7 s of every answer
of `dfd fit`. Whoever wants scipy.signal for itself gets it, meanwhile too.
"""

import importlib
import importlib.abc
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

_SIGNAL = "scipy.signal"


class _LeaveOutSignal(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        if fullname != "torchmetrics":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and _SIGNAL not in sys.modules:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self.loader
        sys.modules[_SIGNAL] = _StandIn(_SIGNAL)
        try:
            self.loader.exec_module(module)
        finally:
            _StandIn.leave()


class _StandIn(ModuleType):
    hamming = None  # what torchmetrics looks for, to add it where it is missing

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(_SIGNAL), name)

    @staticmethod
    def leave() -> None:
        if isinstance(sys.modules.get(_SIGNAL), _StandIn):
            del sys.modules[_SIGNAL]


def install() -> None:
    if "torchmetrics" not in sys.modules:
        sys.meta_path.insert(0, _LeaveOutSignal())
