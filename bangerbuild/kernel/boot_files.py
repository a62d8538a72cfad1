"""Find the kernel or initrd that a pattern such as `/boot/vmlinuz-*` selects in a guest: the newest one.

Backup files of package managers and users (`.old`, `.bak`, `.dpkg-*`, `~`) do not match a pattern. Symlinks
and hard links to the same file count once.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError, readable_size
from bangerbuild.kernel.version import names_release, release_key, version_in
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bangerbuild.disk.ext4 import Filesystem

_LEFTOVER = re.compile(r"(?:\.(?:old|bak|orig|save|rpmsave|rpmnew|rpmorig|hmac|sig)|\.dpkg-[a-z]+|~)$")
LIMIT_BYTES = 2 << 30
"""A limit, because a hostile image may have a huge sparse file."""
MOST_MATCHES = 1000
"""A limit, because each name is searched from the directory's start."""
_SHOWN_NAMES = 8
_MAX_SYMLINKS = 40


@dataclass(frozen=True)
class BootFile:
    """A regular file in a guest."""

    path: str
    """The path that matched."""
    name: str
    """The last component of its path after all symlinks."""
    ino: int
    size_bytes: int

    @property
    def release(self) -> str | None:
        """The release in its name; None if there is none."""
        return version_in(self.name)

    def is_for(self, release: str) -> bool:
        """Whether its name contains this kernel release."""
        return names_release(self.name, release)


def is_pattern(path: str) -> bool:
    """Whether a path has wildcards."""
    return any(sign in posixpath.basename(path) for sign in "*?[")


def find_kernel(disk: Filesystem, pattern: str) -> BootFile:
    """The newest kernel that a pattern matches.

    Raises:
        SourceError: there is none, or there are two of the same version.
    """
    return _newest(_matching(disk, pattern, "kernel"), pattern, "kernel")


def find_initrd(disk: Filesystem, pattern: str, release: str | None = None) -> BootFile:
    """The initrd for a kernel release; the newest if no release is given.

    A path without wildcards is used for any release.

    Raises:
        SourceError: there is none, none for the kernel, or there are two of the same version.
    """
    found = _matching(disk, pattern, "initrd")
    if release is None or not is_pattern(pattern):
        return _newest(found, pattern, "initrd")
    fitting = [file for file in found if file.is_for(release)]
    fitting = fitting or [file for file in found if file.release is None]
    if not fitting:
        raise SourceError(
            f"no initrd for kernel {release}: '{pattern}' matches {_listed([file.path for file in found])}",
            hint=f"run `update-initramfs -c -k {release}` in the image, or name the kernel of that initrd",
        )
    return _newest(fitting, pattern, "initrd")


def copy(disk: Filesystem, file: BootFile, target: Path) -> None:
    """Copy a guest's file to `target`, which must not exist.

    Raises:
        SourceError: the file is larger than LIMIT_BYTES.
    """
    if file.size_bytes > LIMIT_BYTES:
        raise SourceError(
            f"'{file.path}' has {readable_size(file.size_bytes)}, more than anything that boots"
        )
    with target.open("xb") as out:
        out.writelines(disk.read_chunks(file.path) or ())


def _newest(files: Sequence[BootFile], pattern: str, what: str) -> BootFile:
    keys = {file: release_key(file.release or "") for file in files}
    newest = sorted((file for file in files if keys[file] == max(keys.values())), key=lambda file: file.path)
    if len(newest) > 1:
        names = " and ".join(f"'{file.path}'" for file in newest)
        raise SourceError(
            f"'{pattern}' matches more than one {what} of one version: {names}",
            hint=f"name one of them with `{what} = {{ guest = … }}`",
        )
    return newest[0]


def _matching(disk: Filesystem, pattern: str, what: str) -> list[BootFile]:
    """All files that match, each once."""
    directory, last = posixpath.split(pattern)
    names = disk.listdir(directory)
    if names is None:
        raise SourceError(f"no {what} matches '{pattern}': there is no '{directory}' in the image")
    matched = [name for name in names if _matches(name, last)] if is_pattern(pattern) else [last]
    if len(matched) > MOST_MATCHES:
        hint = f"name the file itself with `{what} = {{ guest = … }}`"
        raise SourceError(f"'{pattern}' matches {len(matched)} names, more than any image has", hint=hint)
    files = _distinct([file for name in matched for file in _regular(disk, posixpath.join(directory, name))])
    if not files:
        holds = f"'{directory}' holds {_listed(names)}" if names else f"'{directory}' is empty"
        hint = f"install one in the image, or name a file of the host with `{what} = …`"
        raise SourceError(f"no {what} matches '{pattern}': {holds}", hint=hint)
    return files


def _matches(name: str, pattern: str) -> bool:
    is_hidden = name.startswith(".") and not pattern.startswith(".")
    return not is_hidden and not _LEFTOVER.search(name) and fnmatch.fnmatchcase(name, pattern)


def _regular(disk: Filesystem, path: str) -> Iterator[BootFile]:
    found = disk.stat(path)
    if found is not None and found.type is EntryType.FILE:
        yield BootFile(path, posixpath.basename(_followed(disk, path)), found.ino, found.size_bytes)


def _followed(disk: Filesystem, path: str) -> str:
    """The path after all symlinks; `stat` has refused a path with too many before."""
    for _ in range(_MAX_SYMLINKS):
        found = disk.stat(path, follow=False)
        if found is None or found.type is not EntryType.SYMLINK:
            break
        path = posixpath.join(posixpath.dirname(path), found.target)
    return path


def _distinct(files: Sequence[BootFile]) -> list[BootFile]:
    """One file per inode; its own name takes precedence over a symlink's."""
    own_names_last = sorted(files, key=lambda file: posixpath.basename(file.path) == file.name)
    return list({file.ino: file for file in own_names_last}.values())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
