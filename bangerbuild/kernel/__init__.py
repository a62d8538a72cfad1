"""Kernels and initrds: which of several is meant, what one was built with, and the vmlinux inside.

`unpack` is what to read first. Knows nothing of steps or manifests.
"""
