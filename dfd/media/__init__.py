"""Images and videos: opening untrusted files safely, decoding, face detection, crops. No torch."""

from dfd.media.crops import View
from dfd.media.decode import Undecodable, decode
from dfd.media.faces import FaceDetector

__all__ = ["FaceDetector", "Undecodable", "View", "decode"]
