"""Container images (OCI and Docker): find one, verify it, and merge its layers into tree entries.

`skopeo` fetches and converts images. Everything that decides the bytes of a disk is done here: the manifest
is chosen for a platform, each blob is verified against its digest, and the layers are merged. Formats: the
OCI image specification 1.1, and Docker's image manifest version 2, schema 2.
"""
