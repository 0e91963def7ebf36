"""Explanations of a detector's decisions: where in a picture they come from."""

from dfd.explain.attribution import Attribution, attribute

__all__ = ["Attribution", "attribute"]
