"""Images of the Open Container Initiative: named, chosen, verified, and merged into one stream of entries.

What another tool does well is left to it: `skopeo` fetches and converts. What decides the bytes of a disk is
done here: which manifest stands for a platform, whether each blob is what its digest says, and what the
layers amount to. Formats: the OCI image specification, 1.1, and Docker's image manifest, version 2, schema 2.
"""
