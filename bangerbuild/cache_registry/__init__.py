"""A cache of built images in any OCI registry: the only part that knows how they lie there.

    docker://registry.example/team/images/bookworm:FINGERPRINT

is one artifact of an image: a root filesystem, a seed of work disks, a kernel or an initrd, each under the
fingerprint of its own recipe. It is an OCI image manifest. Its configuration is a description of what was
built: the digests of the files and the facts of their record. Its layers are the chunks of the files, fixed
parts of 4 MiB, each compressed with zstd for itself, so that an edit of one file changes few of them. A chunk
of zeros is left out.

`artifact` is the format, `chunks` cuts files and puts them together, `repository` has the names. `lookup` is
what a plan asks, `download` and `upload` move artifacts, `cleaning` removes them. All goes through skopeo.
"""
