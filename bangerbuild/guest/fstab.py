"""The guest's `/etc/fstab` (fstab(5)): the image's own lines, then those of the manifest."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bangerbuild.declared import Mount
from bangerbuild.guest.paths import normal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.guest.devices import Devices, Lack

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


@dataclass(frozen=True)
class Fstab:
    """The content of an fstab, and warnings about lines of the image that are no longer in force."""

    content: bytes
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rules:
    """Which of the image's own lines stay."""

    devices: Devices
    """What the VM has."""
    drop: tuple[str, ...] = ()
    """Targets whose lines go."""
    keep: tuple[str, ...] = ()
    """Targets whose lines stay although the VM does not have their device; of swap, which has no target, the
    source."""


def fstab(image: bytes, rules: Rules, mounts: Sequence[Mount]) -> Fstab:
    """The image's fstab without the targets that are dropped or in `mounts`, followed by `mounts`.

    A line for what the VM does not have is commented out: systemd would wait 90 s for a device, and start the
    emergency shell where a filesystem can't be mounted. All other lines are kept byte for byte, in any
    encoding; a missing newline at the end is added. Applied to its own result, the function changes nothing.
    """
    gone = frozenset(normal(target) for target in (*rules.drop, *(mount.target for mount in mounts)))
    kept = _kept(image, gone, frozenset(map(normal, rules.keep)), rules.devices)
    ours = b"".join(map(_line, mounts))
    return Fstab(kept.content + MARK + ours if ours else kept.content, kept.warnings)


@functools.lru_cache(maxsize=64)
def _kept(image: bytes, gone: frozenset[str], keep: frozenset[str], devices: Devices) -> Fstab:
    lines: list[bytes] = []
    warnings: list[str] = []
    for line in _lines(image):
        entry = Entry.of(line)
        if line == MARK or (entry and entry.target in gone):
            continue
        lack = devices.lack(entry.source, entry.fstype, entry.options) if entry else None
        if entry and lack and entry.name not in keep:
            lines += [_comment(lack), b"# " + line]
            warnings.append(_warning(entry, lack))
        else:
            lines.append(line)
    return Fstab(b"".join(lines), tuple(warnings))


def _comment(lack: Lack) -> bytes:
    return f"# Commented out by bangerbuild: {lack.comment}.\n".encode()


def _warning(entry: Entry, lack: Lack) -> str:
    return (
        f"the line for '{entry.name}' of the image's {PATH} is commented out: {lack.reason} "
        f'(keep_mounts = ["{entry.name}"] keeps the line)'
    )


def _lines(text: bytes) -> list[bytes]:
    # Not splitlines(), which also splits at a carriage return.
    return [line + b"\n" for line in text.removesuffix(b"\n").split(b"\n")] if text else []


@dataclass(frozen=True)
class Entry:
    """What one line of an fstab means."""

    source: str
    target: str
    fstype: str
    options: tuple[str, ...]

    @classmethod
    def of(cls, line: bytes) -> Self | None:
        """The entry of a line; None if it is blank or a comment."""
        fields = re.split(rb"[ \t]+", line.strip(b" \t\n"))
        if len(fields) < 2 or fields[0].startswith(b"#"):
            return None
        source, target, fstype, options, *_ = (*map(_unescaped, fields), "", "")
        return cls(source, normal(target), fstype.rstrip("\r"), tuple(options.rstrip("\r").split(",")))

    @property
    def name(self) -> str:
        """What `keep_mounts` calls it: its target, or its source if it is mounted nowhere, as swap is."""
        return self.target if self.target.startswith("/") else self.source


def _unescaped(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8) & 0xFF]), field))


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
