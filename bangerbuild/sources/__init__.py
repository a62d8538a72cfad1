"""Where images come from: one file for each kind of source, and the two registries that list them.

`FILESYSTEMS` has what `rootfs` and `work_seed` can be made of, `BOOT_FILES` what `kernel` and `initrd` can be
taken from; each by the key that names it in a manifest. What is not listed here does not exist. A new kind is
a file of this package that inherits the Protocols of `source.py`, one line here (in
`file_kinds.py` if it is one file, so that it may be downloaded too), a part of the schema, and tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.sources.boot_file import HostBootFile
from bangerbuild.sources.boot_guest import GuestBootFile
from bangerbuild.sources.directory import DirectorySource
from bangerbuild.sources.dockerfile import DockerfileSource
from bangerbuild.sources.file_kinds import FILE_KINDS
from bangerbuild.sources.mmdebstrap import MmdebstrapSource
from bangerbuild.sources.oci import OciKind
from bangerbuild.sources.other_image import OtherImage
from bangerbuild.sources.source import without_secrets
from bangerbuild.sources.url import UrlBootFile, UrlSource

if TYPE_CHECKING:
    from bangerbuild.sources.source import BootFileKind, FilesystemKind, LockWords, SourceKind

FILESYSTEMS: dict[str, type[FilesystemKind]] = {
    **FILE_KINDS,
    "directory": DirectorySource,
    "oci": OciKind,
    "dockerfile": DockerfileSource,
    "url": UrlSource,
    "mmdebstrap": MmdebstrapSource,
    "image": OtherImage,
}

BOOT_FILES: dict[str, type[BootFileKind]] = {
    "path": HostBootFile,
    "guest": GuestBootFile,
    "url": UrlBootFile,
}


def shown_words(words: LockWords) -> dict[str, str]:
    """An entry of the lock file as people may see it: each kind says how its own is shown."""
    kinds: tuple[type[SourceKind], ...] = (*FILESYSTEMS.values(), *BOOT_FILES.values())
    kind = next((kind for kind in kinds if kind.word in words), None)
    shown = kind.shown_word if kind else without_secrets
    texts = {key: [value] if isinstance(value, str) else value for key, value in words.items()}
    return {key: " ".join(map(shown, values)) for key, values in texts.items()}
