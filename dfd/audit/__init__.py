"""`dfd audit`: shortcuts, leaks and statistics of prepared shards, as an HTML page."""

from dfd.audit.report import Audit, audit

__all__ = ["Audit", "audit"]
