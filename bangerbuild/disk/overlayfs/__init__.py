"""Two trees as overlayfs joins them: a read-only lower one, and an upper one that takes all changes.

`nodes` joins them by inodes, `tree` by paths; `marks` has what overlayfs leaves in an upper tree, `upper` the
disk that holds one. Source: Documentation/filesystems/overlayfs.rst, and `fs/overlayfs` in Linux 6.
"""
