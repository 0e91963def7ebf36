"""Data preparation: `dfd prepare`, `index`, `combine` and `reencode` make shards of files. No torch."""
