"""Custody log: who did what to which file, and when; a line each, in which the lines before cannot be changed
unnoticed.

    lines (how one is written) -> check (whether all are as they were written) -> log (one more)

JSON Lines, one object a line, its keys in order. `before` is the hash of the line before, `hash` that of the
line's own content, so that a line that was changed, removed, moved or put in breaks the chain at its place.
Whoever can write the file can write all of it anew: against that helps the last hash, kept elsewhere.
"""

from dfd.forensics.custody.check import Fault, Verified, summary, verify
from dfd.forensics.custody.lines import START, Entry, versions
from dfd.forensics.custody.log import CustodyLog, append

__all__ = ["START", "CustodyLog", "Entry", "Fault", "Verified", "append", "summary", "verify", "versions"]
