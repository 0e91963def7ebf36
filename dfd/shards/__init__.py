"""WebDataset shards: format, writer, table of contents, splits, duplicates, download, cache. No torch."""
