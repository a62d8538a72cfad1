"""Read and write disk images: ext2/3/4 filesystems, dm-snapshot stores, journals, clones, e2fsprogs.

Nothing here knows of steps or manifests. `ext4` is the module to read first.
"""
