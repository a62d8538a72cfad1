"""The guest's `/etc/fstab` (fstab(5)): the image's own lines, then those of the manifest."""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING

from bangerbuild.declared import Mount
from bangerbuild.guest.paths import normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PATH = "/etc/fstab"
MARK = b"# Written by bangerbuild, from here on:\n"
TMPFS = (
    Mount("tmpfs", "/run", "tmpfs", ("defaults", "nodev", "nosuid", "mode=0755")),
    Mount("tmpfs", "/tmp", "tmpfs", ("defaults", "nodev", "nosuid", "mode=1777")),  # noqa: S108 - in the guest
)


def with_tmpfs(declared: Sequence[Mount]) -> tuple[Mount, ...]:
    """All mounts of a guest: the default tmpfs whose targets are not declared, then the declared mounts."""
    targets = {normal(mount.target) for mount in declared}
    return (*(mount for mount in TMPFS if mount.target not in targets), *declared)


def fstab(image: bytes, drop: Iterable[str], mounts: Sequence[Mount]) -> bytes:
    """The image's fstab without the targets in `drop` and `mounts`, followed by `mounts`.

    Lines that stay are kept byte for byte, in any encoding; a missing newline at the end is added. Applied to
    its own result, the function changes nothing.
    """
    kept = _kept(image, frozenset(normal(target) for target in (*drop, *(mount.target for mount in mounts))))
    ours = b"".join(map(_line, mounts))
    return kept + MARK + ours if ours else kept


@functools.lru_cache(maxsize=64)
def _kept(image: bytes, gone: frozenset[str]) -> bytes:
    return b"".join(line for line in _lines(image) if line != MARK and _target(line) not in gone)


def _lines(text: bytes) -> list[bytes]:
    # Not splitlines(), which also splits at a carriage return.
    return [line + b"\n" for line in text.removesuffix(b"\n").split(b"\n")] if text else []


def _target(line: bytes) -> str | None:
    """The target of a line; None if it is blank or a comment."""
    fields = re.split(rb"[ \t]+", line.strip(b" \t\n"))
    if len(fields) < 2 or fields[0].startswith(b"#"):
        return None
    return normal(os.fsdecode(_unescaped(fields[1])))


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8) & 0xFF]), field)


@functools.lru_cache(maxsize=256)
def _line(mount: Mount) -> bytes:
    # A source that begins with # would make the line a comment. Elsewhere # is not escaped,
    # because getmntent in older C libraries decodes only the escapes of blanks and of the backslash.
    source = re.sub(rb"^#", rb"\\043", _escaped(mount.source))
    options = ",".join(mount.options) or "defaults"
    fields = (source, _escaped(mount.target), _escaped(mount.fstype), _escaped(options))
    return b" ".join(fields) + f" {mount.dump} {mount.fsck_pass}\n".encode()


def _escaped(field: str) -> bytes:
    return re.sub(rb"[ \t\n\\]", lambda byte: b"\\%03o" % ord(byte[0]), os.fsencode(field))
