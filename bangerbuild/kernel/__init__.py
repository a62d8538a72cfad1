"""Kernels and initrds: find them in a guest, unpack the vmlinux in a kernel file, read its configuration.

Read `unpack` first. Nothing here knows of steps or manifests.
"""
