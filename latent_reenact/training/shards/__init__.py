"""Shards: tar files of aligned faces with their annotations, written once, read as streams or whole."""
