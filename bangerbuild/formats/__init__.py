"""Readers of foreign formats: tarballs, container images and host directories as streams of tree entries.

Also their digests, decompression, and the limits on what they may unpack to. Nothing here knows of steps or
manifests. Messages call a source by the text that the caller passes as `written`, or by its path.
"""
