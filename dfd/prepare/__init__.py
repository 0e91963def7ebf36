"""`dfd prepare` and its kin: files in any layout become shards. No torch."""
