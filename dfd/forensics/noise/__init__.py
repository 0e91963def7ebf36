"""Noise: what is left of a picture without its content, how strong it is, and sensors' fingerprints in it."""

from dfd.forensics.noise.camera_match import camera_match, camera_tool
from dfd.forensics.noise.level import noise_level
from dfd.forensics.noise.prnu import Fingerprint, fingerprint, fingerprint_files
from dfd.forensics.noise.residual import highpass_residual, noise_residual, wavelet_residual

__all__ = [
    "Fingerprint",
    "camera_match",
    "camera_tool",
    "fingerprint",
    "fingerprint_files",
    "highpass_residual",
    "noise_level",
    "noise_residual",
    "wavelet_residual",
]
