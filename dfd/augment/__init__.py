"""Augmentation of training images, corruption in evaluation, and adversarial attacks."""

from dfd.augment.albumentations import Albumentations
from dfd.augment.art_attacks import APGD, Square
from dfd.augment.attack import FGSM, PGD, Attack, FastFGSM
from dfd.augment.corruption import CORRUPTIONS, Corruption, corrupt
from dfd.augment.face_blend import FaceBlend
from dfd.augment.fingerprint import Fingerprint
from dfd.augment.image import Augment
from dfd.augment.mix import CutMix, MixUp
from dfd.augment.reconstruction import Reconstruction

__all__ = [
    "APGD",
    "CORRUPTIONS",
    "FGSM",
    "PGD",
    "Albumentations",
    "Attack",
    "Augment",
    "Corruption",
    "CutMix",
    "FaceBlend",
    "FastFGSM",
    "Fingerprint",
    "MixUp",
    "Reconstruction",
    "Square",
    "corrupt",
]
