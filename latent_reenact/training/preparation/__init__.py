"""Data sets: folders of videos, or the synthetic world, into shards."""
