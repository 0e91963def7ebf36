"""Tasks: Lightning modules that say what is trained, on what loss, and how it is judged."""

from dfd.tasks.adversarial import AdversarialTask
from dfd.tasks.autoencoder import AutoencoderTask
from dfd.tasks.classification import ClassificationTask
from dfd.tasks.detection import DetectionTask
from dfd.tasks.finetune import (
    FineTuning,
    GradualUnfreezing,
    LayerDecay,
    LinearProbe,
    LoRA,
    NormLayers,
    StayPositive,
)
from dfd.tasks.gan import GANTask
from dfd.tasks.losses import AlignmentUniformity, BinaryCrossEntropy, Focal, SupervisedContrastive

__all__ = [
    "AdversarialTask",
    "AlignmentUniformity",
    "AutoencoderTask",
    "BinaryCrossEntropy",
    "ClassificationTask",
    "DetectionTask",
    "FineTuning",
    "Focal",
    "GANTask",
    "GradualUnfreezing",
    "LayerDecay",
    "LinearProbe",
    "LoRA",
    "NormLayers",
    "StayPositive",
    "SupervisedContrastive",
]
