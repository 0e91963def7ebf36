"""Energy that the machine's own counters tell: NVIDIA GPUs by NVML, Intel and AMD processors by RAPL.

A GPU counts since its driver was loaded (nvmlDeviceGetTotalEnergyConsumption, Volta and later), a processor
in a file of the kernel that starts again at its end. Virtual machines mostly tell neither, and then there is
no figure: a guess by the length of a run would be none.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules since it was made.

    Args:
        gpus: which GPUs count, by NVML's numbers.
        powercap: where the kernel keeps the processors' counters.
    """

    def __init__(self, gpus: tuple[int, ...] = (), powercap: Path = POWERCAP):
        self._gpus, self._nvml = gpus, _nvml() if gpus else None
        self._packages = [
            path for path in sorted(powercap.glob("intel-rapl:*")) if _name(path).startswith("package")
        ]
        self._last = {path: _micro(path / "energy_uj") for path in self._packages}
        self._joules = 0.0
        self._gpu_start = self._gpu_joules()

    def joules(self) -> float | None:
        """None where no counter can be read. To be asked now and then: a processor's counter wraps in
        minutes to hours.
        """
        known = False
        for path, before in self._last.items():
            now = _micro(path / "energy_uj")
            if now is None or before is None:
                continue
            known = True
            wrapped = _micro(path / "max_energy_range_uj") or 0
            self._joules += (now - before + (wrapped if now < before else 0)) / 1e6
            self._last[path] = now
        gpu = self._gpu_joules()
        if gpu is None or self._gpu_start is None:
            return self._joules if known else None
        return self._joules + gpu - self._gpu_start

    def _gpu_joules(self) -> float | None:
        if self._nvml is None:
            return None
        total = 0.0
        for number in self._gpus:
            handle, counted = ctypes.c_void_p(), ctypes.c_ulonglong()
            if self._nvml.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)):
                return None
            if self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(counted)):
                return None
            total += counted.value / 1e3  # of millijoules
        return total


def _name(zone: Path) -> str:
    """What a zone counts: "package-0"; its parts and "psys", which holds it, would count twice."""
    try:
        return (zone / "name").read_text(encoding="ascii")
    except OSError:
        return ""


def _micro(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # not there, or for root alone
        return None


def _nvml() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None
