"""Disks of machines: made by the tools that distributions make theirs with."""
