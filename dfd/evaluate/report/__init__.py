"""`dfd report`: one HTML page of a grid or a run, and the detectors' model cards beside it."""

from dfd.evaluate.report.write import Report, report

__all__ = ["Report", "report"]
