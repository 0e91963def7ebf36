"""Verbs of `dfd` that need no Trainer: one plain typed function each, which cyclopts serves.

A signature is a command line: what comes before `*` is positional, the rest are options; the docstring is the
help page. Each module lists its verbs in VERBS, in the order of the help page. Engines are imported inside
the functions, so that `dfd --help` and a mistyped option are answered at once.
"""
