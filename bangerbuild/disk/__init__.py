"""Read and write disk images: ext2/3/4 filesystems, overlays (dm-snapshot, qcow2), journals, clones.

What e2fsprogs does better, its programs and its library do. `formats` has the registry of disk formats.

Nothing here knows of steps or manifests. `ext4` is the module to read first.
"""
