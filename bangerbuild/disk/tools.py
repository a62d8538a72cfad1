"""The command lines of e2fsprogs: each function returns a `Command`.

mke2fs gets all features and sizes as options, because the host's mke2fs.conf differs between distributions.
Times, UUID and hash seed are given too, so that the same call makes the same bytes.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild.errors import ToolError
from bangerbuild.host.process import Command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BLOCK_BYTES = 4096
FEATURES = (
    "none",
    "has_journal",
    "ext_attr",
    "resize_inode",
    "dir_index",
    "filetype",
    "extent",
    "64bit",
    "flex_bg",
    "sparse_super",
    "large_file",
    "huge_file",
    "dir_nlink",
    "extra_isize",
    "metadata_csum",
)
_FILE = "FILE"
_DONE = frozenset({0})
E2FSCK_SECONDS = 10
E2FSCK_SECONDS_PER_GIB = 3
MEMORY_BYTES = 384 << 20
MEMORY_BYTES_PER_GIB = 24 << 20


def name_uuid(fingerprint: str, purpose: str) -> uuid.UUID:
    """A UUID derived from a fingerprint, for one purpose (RFC 9562, version 8)."""
    value = bytearray(hashlib.sha256(f"{fingerprint} {purpose}".encode()).digest()[:16])
    value[6] = value[6] & 0x0F | 0x80
    value[8] = value[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(value))


@dataclass(frozen=True)
class Geometry:
    """The size, inodes and label of a new filesystem."""

    size_bytes: int
    """A multiple of 4096."""
    inodes: int | None = None
    """The least number of inodes; None: one for every 16 KiB."""
    label: str = ""
    """At most 16 bytes."""
    journal_mib: int | None = None
    """The size of the journal; None: as mke2fs has it."""
    most_bytes: int | None = None
    """The size to which it can grow without moving what lies in it; None: a thousand times its own."""


def mke2fs(path: Path, geometry: Geometry, *, fingerprint: str, epoch: int) -> Command:
    """Make an empty ext4 in `path`, whose root directory belongs to 0:0.

    The file is made if it is missing, and stays sparse: mke2fs discards its content first, and then need not
    write zeros to inode tables and journal.

    Args:
        path: the file.
        geometry: size, inodes and label.
        fingerprint: UUID and hash seed are derived from it.
        epoch: the time, in seconds since 1970, for all timestamps; not 0, which means now.
    """
    extended = (
        f"hash_seed={name_uuid(fingerprint, 'hash seed')}",
        "lazy_itable_init=0",
        "lazy_journal_init=0",
        "root_owner=0:0",
        *((f"resize={geometry.most_bytes // BLOCK_BYTES}",) if geometry.most_bytes else ()),
    )
    return _on(
        path,
        (
            "mke2fs",
            *("-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), "-I", "256", "-m", "0"),
            *("-O", ",".join(FEATURES)),
            *("-U", str(name_uuid(fingerprint, "filesystem"))),
            *("-E", ",".join(extended)),
            *(("-L", geometry.label) if geometry.label else ()),
            *(("-J", f"size={geometry.journal_mib}") if geometry.journal_mib else ()),
            *(("-N", str(geometry.inodes)) if geometry.inodes is not None else ("-i", "16384")),
            _FILE,
            str(geometry.size_bytes // BLOCK_BYTES),
        ),
        env={
            "MKE2FS_CONFIG": "/dev/null",
            "MKE2FS_SKIP_CHECK_MSG": "1",
            **_times(epoch),
        },
    )


def e2fsck_read_only(path: Path, *, size_bytes: int) -> Command:
    """Check a filesystem without changing it: exit code 0 means clean, 4 means errors."""
    return _limited(_on(path, ("e2fsck", "-fn", _FILE), ok=frozenset({0, 4})), size_bytes)


def e2image(path: Path, target: Path, *, size_bytes: int) -> Command:
    """Copy the metadata of a filesystem, which is what e2fsck reads, to a sparse raw file."""
    return _limited(_on(path, ("e2image", "-r", _FILE, str(target.absolute()))), size_bytes)


def e2fsck_preen(path: Path, *, epoch: int, size_bytes: int | None = None) -> Command:
    """Replay the journal and repair what can be repaired automatically.

    The filesystem is clean afterwards.
    """
    return _limited(_mending("-fp", path, epoch), size_bytes)


def e2fsck_index(path: Path, *, epoch: int) -> Command:
    """Make an index for every directory of more than a few blocks, as the kernel would have."""
    return _mending("-fpD", path, epoch)


def e2fsck_replay(path: Path, *, epoch: int, size_bytes: int | None = None) -> Command:
    """Replay the journal and clear orphans of a filesystem that has no other errors."""
    return _limited(_mending("-p", path, epoch), size_bytes)


def _mending(options: str, path: Path, epoch: int) -> Command:
    env = {"E2FSCK_TIME": str(epoch), **_times(epoch)}
    return _on(path, ("e2fsck", options, _FILE), env=env, ok=frozenset({0, 1}))


def _limited(command: Command, size_bytes: int | None) -> Command:
    """Limit time and memory by the size of the disk: on some damaged disks e2fsck never ends."""
    if size_bytes is None:
        return command
    gib = size_bytes >> 30
    return replace(
        command,
        timeout_seconds=E2FSCK_SECONDS + E2FSCK_SECONDS_PER_GIB * gib,
        memory_bytes=MEMORY_BYTES + MEMORY_BYTES_PER_GIB * gib,
    )


def resize2fs(path: Path, *, size_bytes: int, epoch: int, undo: Path | None = None) -> Command:
    """Grow a filesystem, which was checked just before, to `size_bytes`, the size of its file.

    With `undo`, resize2fs saves what it overwrites there. It then also runs without a recorded check, because
    `e2fsck_read_only` does not record one.
    """
    keeping = () if undo is None else ("-f", "-z", str(undo.absolute()))
    return _on(path, ("resize2fs", *keeping, _FILE, f"{size_bytes // 512}s"), env=_times(epoch))


def tune2fs_label(path: Path, label: str, *, epoch: int) -> Command:
    """Set a filesystem's label, at most 16 bytes."""
    return _on(path, ("tune2fs", "-L", label, _FILE), env=_times(epoch))


def _on(
    path: Path, argv: tuple[str, ...], *, env: Mapping[str, str] | None = None, ok: frozenset[int] = _DONE
) -> Command:
    """A command with the file in the place of `_FILE`.

    e2fsprogs takes what follows a '?' in the name of a file for options. So where a directory has one in its
    name, the command runs there, and the file is named without it.

    Raises:
        ToolError: the file itself has one in its name.
    """
    if "?" in path.name:
        raise ToolError(
            f"'{path}' has a '?' in its name, and e2fsprogs takes what follows for options",
            hint="give it another name",
        )
    directory = str(path.parent) if "?" in str(path) else None
    file = f"./{path.name}" if directory else str(path)
    words = tuple(file if word is _FILE else word for word in argv)
    return Command(words, env=env or {}, ok=ok, directory=directory)


def _times(epoch: int) -> dict[str, str]:
    """The variables that set the current time for e2fsprogs: one before 1.47.1, one from there on."""
    return {"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch)}


def version() -> Command:
    """Print the version of e2fsprogs, like `mke2fs 1.47.0 (5-Feb-2023)`."""
    return Command(("mke2fs", "-V"))
