"""Evaluation: the measures of `metrics`, run on whole models under a protocol."""
