"""`dfd audit`: what a data set is, and whether something other than forgery gives the label away."""

from dfd.data.audit.report import Audit, audit
from dfd.data.leaks import Leaks, find_leaks

__all__ = ["Audit", "Leaks", "audit", "find_leaks"]
