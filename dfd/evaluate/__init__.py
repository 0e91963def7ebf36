"""Evaluation: detectors x data roots x conditions, as one table that keeps what its figures rest on."""
