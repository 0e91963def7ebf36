"""`dfd inspect`: what files say of their own making, as pages that a person can read and print. No torch."""

from dfd.inspection.inspect import inspect_files

__all__ = ["inspect_files"]
