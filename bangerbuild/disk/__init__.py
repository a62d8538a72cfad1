"""Mechanisms that read and write disks. They know nothing of steps or manifests."""
