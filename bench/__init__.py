"""Benchmark programs: each runs both sides in one go and prints ratios. `make bench` runs them all."""
