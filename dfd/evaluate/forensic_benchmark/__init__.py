"""Benchmark of the forensic tools: tools x sets x metrics."""
