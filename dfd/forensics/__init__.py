"""Forensics of image files: JPEG settings and spectra. numpy, Pillow and OpenCV only, no torch."""

from dfd.forensics.jpeg import JpegFacts, jpeg_facts

__all__ = ["JpegFacts", "jpeg_facts"]
