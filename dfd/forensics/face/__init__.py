"""Forensics of faces: where they are, and weak traces of blending, warping and drawing in them."""

from dfd.forensics.face.clip import clip_cues, clip_findings
from dfd.forensics.face.geometry import FaceFinder, FaceGeometry
from dfd.forensics.face.tools import face_tools

__all__ = ["FaceFinder", "FaceGeometry", "clip_cues", "clip_findings", "face_tools"]
