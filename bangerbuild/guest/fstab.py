"""The guest's `/etc/fstab` (fstab(5)): the image's own lines, then those of the manifest."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bangerbuild.declared import Mount
from bangerbuild.guest.devices import STOPS_NO_BOOT, Lack
from bangerbuild.guest.paths import normal
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bangerbuild.guest.devices import Devices

PATH = "/etc/fstab"
MARK = b"# Written by bangerbuild, from here on:\n"
_LAYERS = ("lowerdir=", "lowerdir+=", "upperdir=", "workdir=")
_PATH_MAX = 4096
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
class FstabRules:
    """Which of the image's own lines stay."""

    devices: Devices
    """What the VM has."""
    drop: tuple[str, ...] = ()
    """Targets whose lines go."""
    keep: tuple[str, ...] = ()
    """Targets whose lines stay although the VM does not have their device; of swap, which has no target, the
    source."""


def fstab(image: bytes, rules: FstabRules, mounts: Sequence[Mount]) -> Fstab:
    """The image's fstab without the targets that are dropped or in `mounts`, followed by `mounts`.

    A line for what the VM does not have is commented out: systemd would wait 90 s for a device, and start the
    emergency shell where a filesystem can't be mounted. All other lines are kept byte for byte, in any
    encoding; a missing newline at the end is added. Applied to its own result, the function changes nothing.
    """
    gone = frozenset(normal(target) for target in (*rules.drop, *(mount.target for mount in mounts)))
    kept = _kept(image, gone, frozenset(map(normal, rules.keep)), rules.devices)
    ours = b"".join(map(_line, mounts))
    names = {entry.name for line in _lines(image) if (entry := FstabLine.of(line))} if rules.keep else ()
    warnings = (*kept.warnings, *_unused(names, rules.keep))
    return Fstab(kept.content + MARK + ours if ours else kept.content, warnings)


@functools.lru_cache(maxsize=64)
def _kept(image: bytes, gone: frozenset[str], keep: frozenset[str], devices: Devices) -> Fstab:
    parsed = [(line, FstabLine.of(line)) for line in _lines(image) if line != MARK]
    remaining = [(line, entry) for line, entry in parsed if not entry or entry.target not in gone]
    lacking = _lacking([entry for _, entry in remaining if entry], gone, keep, devices)
    lines: list[bytes] = []
    for line, entry in remaining:
        lack = lacking.get(entry) if entry else None
        lines += [_comment(lack), b"# " + line] if lack else [line]
    return Fstab(b"".join(lines), tuple(_warning(entry, lack) for entry, lack in lacking.items()))


def _lacking(
    entries: Sequence[FstabLine], gone: frozenset[str], keep: frozenset[str], devices: Devices
) -> dict[FstabLine, Lack]:
    """Why each entry that can't be in force can't: what it mounts is not there, or lies on such an entry."""
    lacks = {entry: entry.lack(devices) for entry in entries}
    found = {entry: lack for entry, lack in lacks.items() if lack and entry.name not in keep}
    mounted = gone | {entry.target for entry in entries if entry not in found}
    lost = {entry.target for entry in found} - mounted - {"/"}
    for entry in entries:
        if entry in found or entry.name in keep or not (lack := _on_lost(entry, lost, mounted)):
            continue
        found[entry] = lack
        lost.add(entry.target)
    return {entry: found[entry] for entry in lacks if entry in found}


def _on_lost(entry: FstabLine, lost: Collection[str], mounted: Collection[str]) -> Lack | None:
    """Why an entry that mounts directories or a file of another filesystem finds none, if that is so."""
    if STOPS_NO_BOOT & set(entry.options):
        return None
    for path in entry.paths:
        nearest = next((place for place in _ancestry(path) if place in lost or place in mounted), None)
        if nearest in lost:
            return Lack(
                "what it mounts lies on a filesystem whose line is commented out",
                f"'{path}' lies on '{nearest}', whose line is commented out",
            )
    return None


def _ancestry(path: str) -> Iterator[str]:
    """Yield a path and the directories that it is in, the nearest first."""
    while len(path) > 1:
        yield path
        path = path.rpartition("/")[0]


def _unused(names: Collection[str], keep: Sequence[str]) -> Iterator[str]:
    """Yield a warning for each line to keep that the image's fstab does not have."""
    for name in keep:
        if normal(name) not in names:
            meant = near(normal(name), names)
            hint = f": {meant}" if meant else ""
            yield f"keep_mounts names '{name}', and no line of the image's {PATH} is for it{hint}"


def _comment(lack: Lack) -> bytes:
    return f"# Commented out by bangerbuild: {lack.comment}.\n".encode()


def _warning(entry: FstabLine, lack: Lack) -> str:
    return (
        f"the line for '{entry.name}' of the image's {PATH} is commented out: {lack.reason} "
        f'(keep_mounts = ["{entry.name}"] keeps the line)'
    )


def _lines(text: bytes) -> list[bytes]:
    # Not splitlines(), which also splits at a carriage return.
    return [line + b"\n" for line in text.removesuffix(b"\n").split(b"\n")] if text else []


@dataclass(frozen=True)
class FstabLine:
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
    def paths(self) -> tuple[str, ...]:
        """What it mounts by path: the source of a bind or loop mount, the directories of an overlay."""
        if not self.target.startswith("/"):
            return ()
        layers = (option.partition("=")[2] for option in self.options if option.startswith(_LAYERS))
        named = (self.source, *(path for layer in layers for path in layer.split(":")))
        return tuple(normal(path) for path in named if path[:1] == "/" != path[1:2] and len(path) < _PATH_MAX)

    def lack(self, devices: Devices) -> Lack | None:
        """Why the line can't be in force in a VM with these devices; None if it can."""
        of_root = devices.lack_of_root(self.source, self.fstype) if self.target == "/" else None
        return of_root or devices.lack(self.source, self.fstype, self.options)

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
