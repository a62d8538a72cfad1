"""What lies elsewhere, brought here: downloads, tarballs of packages, and the user's cache of both.

Everything is kept by the sha256 of its bytes, and compared with it before anybody reads a byte. Nothing here
knows of steps or manifests.
"""
