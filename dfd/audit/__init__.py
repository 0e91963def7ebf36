"""`dfd audit`: what a data set is, and whether something other than forgery gives the label away."""

from dfd.audit.report import Audit, audit
from dfd.shards.duplicates import Leaks, find_leaks

__all__ = ["Audit", "Leaks", "audit", "find_leaks"]
