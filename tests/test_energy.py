"""The kernel's counters of energy, drawn in a folder: machines that run tests rarely have them."""

import pytest

from dfd import energy
from dfd.energy import EnergyMeter


def package(folder, name, micro):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "name").write_text("package-0\n" if name.count(":") == 1 else "core\n")
    (folder / name / "energy_uj").write_text(str(micro))
    (folder / name / "max_energy_range_uj").write_text("1000000000")


def test_packages_are_added_and_a_counter_that_starts_again_is_followed(tmp_path):
    package(tmp_path, "intel-rapl:0", 999_000_000)
    package(tmp_path, "intel-rapl:1", 0)
    package(tmp_path, "intel-rapl:0:0", 5)  # a part of the first, which counts it already
    meter = EnergyMeter(powercap=tmp_path)
    assert meter.joules() == 0
    package(tmp_path, "intel-rapl:0", 4_000_000)
    package(tmp_path, "intel-rapl:1", 7_500_000)
    package(tmp_path, "intel-rapl:0:0", 500_000_000)
    assert meter.joules() == pytest.approx(5 + 7.5)
    package(tmp_path, "intel-rapl:1", 8_500_000)
    assert meter.joules() == pytest.approx(5 + 8.5)


def test_without_a_counter_there_is_no_figure(tmp_path):
    assert EnergyMeter(powercap=tmp_path / "none").joules() is None
    (tmp_path / "intel-rapl:0").mkdir()  # whose file is not readable
    assert EnergyMeter(powercap=tmp_path).joules() is None


def test_gpus_count_from_where_they_stood(tmp_path, monkeypatch):
    class Library:
        millijoules = 1_000_000

        def nvmlDeviceGetHandleByIndex_v2(self, number, handle):
            return 0 if number in (0, 3) else 2

        def nvmlDeviceGetTotalEnergyConsumption(self, handle, counted):
            counted._obj.value = self.millijoules
            return 0

    library = Library()
    monkeypatch.setattr(energy, "_nvml", lambda: library)
    meter = EnergyMeter((0, 3), powercap=tmp_path)
    library.millijoules += 2500
    assert meter.joules() == pytest.approx(5.0)
    assert EnergyMeter((7,), powercap=tmp_path).joules() is None
