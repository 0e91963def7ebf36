"""Spectrum: power over the frequencies, its profile beside that of real photos, and peaks of up-sampling."""

from dfd.forensics.spectrum.power import azimuthal_profile, log_spectrum, power_spectrum
from dfd.forensics.spectrum.reference import spectrum
from dfd.forensics.spectrum.upsampling import upsampling_peaks

__all__ = ["azimuthal_profile", "log_spectrum", "power_spectrum", "spectrum", "upsampling_peaks"]
