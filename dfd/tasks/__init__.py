"""Tasks: Lightning modules that say what is trained, on what loss, and how it is judged."""

from dfd.tasks.adversarial import AdversarialTask
from dfd.tasks.autoencoder import AutoencoderTask
from dfd.tasks.classification import ClassificationTask
from dfd.tasks.detection import DetectionTask
from dfd.tasks.gan import GANTask

__all__ = ["AdversarialTask", "AutoencoderTask", "ClassificationTask", "DetectionTask", "GANTask"]
