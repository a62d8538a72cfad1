"""Which partition of a disk is the root, and why: as the manifest says, by its type, by its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.virtual_disk.content import is_root
from bangerbuild.virtual_disk.partition_types import ROOTS, own_architecture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.virtual_disk.content import Content

AUTO = "auto"
NUMBERS = range(1, 257)
TAGS: dict[str, Callable[[Content], str]] = {
    "LABEL": lambda one: one.label,
    "UUID": lambda one: one.uuid,
    "PARTLABEL": lambda one: one.partition.name,
    "PARTUUID": lambda one: one.partition.uuid,
}
"""How a partition may be named, as in an fstab."""
_OTHERS = frozenset({"btrfs", "XFS", "LUKS", "LVM", "F2FS", "bcachefs", "EROFS", "squashfs", "RAID", "ZFS"})
"""What a root may be in beside an ext4."""
_HINTS = {
    "LUKS": "open it with `cryptsetup open` and give what is inside: `ext4 = …` or `directory = …`",
    "LVM": "activate it with `vgchange` and give the volume: `ext4 = …`, a copy of it",
    "RAID": "assemble it with `mdadm` and give what is inside: `ext4 = …`, a copy of it",
}
_COPY = "mount it (guestmount, qemu-nbd) and give the mount point: `directory = …` with `owner = 'keep'`"


@dataclass(frozen=True)
class Choice:
    """The partition that is taken."""

    content: Content
    why: str
    """Ends the sentence "partition 1 is taken: …"."""

    def __str__(self) -> str:
        number = self.content.partition.number
        if not number:
            return f"the whole disk is taken: {self.why}"
        return f"partition {self.content} is taken: {self.why}"


def choose(contents: Sequence[Content], disk: Blocks, wanted: str) -> Choice:
    """The partition to take.

    Args:
        contents: of all partitions.
        disk: that they are on.
        wanted: `auto`, a number, or one of `TAGS` with `=` and a value.

    Raises:
        SourceError: none fits, more than one does, or it is in no ext4. The details list all partitions.
    """
    choice = _automatic(contents, disk) if wanted == AUTO else _named(contents, disk, wanted)
    if not choice.content.is_ext:
        raise _other_filesystem(choice, contents, disk)
    return choice


def _named(contents: Sequence[Content], disk: Blocks, wanted: str) -> Choice:
    key, is_tag, value = wanted.partition("=")
    if is_tag:
        text = value.lower() if key in {"UUID", "PARTUUID"} else value
        found = [one for one in contents if TAGS[key](one) == text]
    else:
        found = [one for one in contents if str(one.partition.number) == wanted]
    if len(found) != 1:
        what = "no partition is" if not found else f"{len(found)} partitions are"
        raise _refused(f"'{disk.name}': {what} '{wanted}'", contents)
    return Choice(found[0], "`partition` names it")


def _automatic(contents: Sequence[Content], disk: Blocks) -> Choice:
    if len(contents) == 1 and not contents[0].partition.number:
        return Choice(contents[0], "it has no partition table")
    typed = [one for one in contents if one.partition.type in ROOTS]
    own = [one for one in typed if ROOTS[one.partition.type] == own_architecture()]
    candidates = own or typed
    if len(candidates) == 1:
        (found,) = candidates
        return Choice(found, f"its type is Linux root ({ROOTS[found.partition.type]})")
    return _by_content(candidates or contents, contents, disk)


def _by_content(candidates: Sequence[Content], contents: Sequence[Content], disk: Blocks) -> Choice:
    ext = [one for one in candidates if one.is_ext]
    roots = [one for one in ext if is_root(one, disk)]
    if len(roots) == 1:
        return Choice(roots[0], "it alone holds /etc and an init")
    if len(roots) > 1:
        numbers = " and ".join(str(one.partition.number) for one in roots)
        raise _refused(f"'{disk.name}' has more than one root filesystem: partitions {numbers}", contents)
    others = [one for one in candidates if one.filesystem in _OTHERS]
    if others:
        largest = max(others, key=lambda one: one.partition.size_bytes)
        return Choice(largest, "no other may be the root")
    if len(ext) == 1:
        return Choice(ext[0], "it is the only Linux filesystem")
    why = "none of its partitions holds /etc and an init"
    raise _refused(f"'{disk.name}' has no root filesystem: {why}", contents)


def _refused(brief: str, contents: Sequence[Content]) -> SourceError:
    hint = 'name one with `partition = …`: a number, "LABEL=…", "PARTLABEL=…" or "UUID=…"'
    return SourceError(brief, details=listed(contents), hint=hint)


def _other_filesystem(choice: Choice, contents: Sequence[Content], disk: Blocks) -> SourceError:
    content = choice.content
    number = content.partition.number
    where = f"partition {number} of '{disk.name}'" if number else f"'{disk.name}'"
    return SourceError(
        f"{where} holds {content.what}, and only ext2, ext3 and ext4 are taken ({choice.why})",
        details=listed(contents) if number else None,
        hint=_HINTS.get(content.filesystem) or content.way_out or _COPY,
    )


def listed(contents: Sequence[Content]) -> str:
    """All partitions, a line each."""
    return "\n".join(map(str, contents))
