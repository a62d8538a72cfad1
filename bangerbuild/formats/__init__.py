"""What the host gives: tarballs, images and directories as streams of tree entries, and their digests.

Mechanisms, like `disk`: they know nothing of steps or manifests. A message calls a source by the words its
caller passes as `written`, else by its path.
"""
