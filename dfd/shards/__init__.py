"""WebDataset shards: their format, writing, table of contents, splits, duplicates, and reading them from
elsewhere. No torch.
"""
