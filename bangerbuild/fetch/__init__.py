"""Downloads, tarballs of Debian packages, and the user's cache of both.

Every file is kept under the SHA-256 of its bytes, which is verified before the file is used. Nothing here
knows of steps or manifests.
"""
