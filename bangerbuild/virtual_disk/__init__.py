"""Disks of machines as files: what kind of file one is, its partitions, and which of them is the root.

Read in this order: `containers` tells qcow2 from VMDK and refuses what would open a further file, `opening`
opens any of them as `Blocks` that can be copied in part, `table` reads the partition table, `content` says
what is in each partition, `choice` takes one, `extraction` writes it to a file of its own. Nothing here knows
of steps or manifests.
"""
