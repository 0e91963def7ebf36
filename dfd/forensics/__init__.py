"""What a file says about itself. numpy, Pillow and OpenCV only; usable without the rest of dfd."""

from dfd.forensics.jpeg import JpegFacts, jpeg_facts

__all__ = ["JpegFacts", "jpeg_facts"]
