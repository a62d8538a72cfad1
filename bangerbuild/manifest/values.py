"""What single values of a manifest stand for: sizes, paths, names; each function takes one or refuses it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from bangerbuild.disk.formats import RAW
from bangerbuild.errors import exact_size
from bangerbuild.host import observed
from bangerbuild.host.home import expanded
from bangerbuild.manifest.problems import HostFileError, InvalidValueError, quoted
from bangerbuild.model import HostPath

if TYPE_CHECKING:
    from bangerbuild.disk.formats.values import SizeRule

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
BLOCK_BYTES = 4096
MIN_DISK_BYTES = RAW.size.least_bytes
"""The smallest disk that is made or grown: below, little is left beside ext4's own journal."""
_MAX_SIZE_BYTES = 1 << 60
_MAX_ID = (1 << 32) - 2  # the last one stands for "unchanged" in chown(2)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DISKS_OF_EVERY_VM = ("root", "work")
_SIZE = re.compile(r"([1-9][0-9]{0,18})([KMGT])(?:iB)?")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DEVICE_TAG = re.compile(r"(LABEL|UUID|PARTLABEL|PARTUUID|ID)=\S+")
_MAX_HOSTNAME = 253
_TAP = "tap-"
_MAX_DEVICE_BYTES = 15  # IFNAMSIZ of linux/if.h, without the closing NUL
_MAX_NAME_BYTES = 255
RELATIVE_HINT = "paths are relative to the manifest file they stand in"
"""The hint for a host path at which nothing is."""
KEY_HINT = "ssh-keygen -t ed25519 makes ~/.ssh/id_ed25519.pub"
"""The same where it is a public key of the user's."""
_USERS_KEY = re.compile(r"~/\.ssh/[^/]+\.pub")


def parse_size(value: str | int) -> int:
    """A size in bytes: a number, or a string such as `512MiB` or `10G`, all 1024-based.

    Raises:
        InvalidValueError: it is no size, or more than 1 EiB.
    """
    size_bytes = value if isinstance(value, int) else _size_of_text(value)
    if size_bytes < 1:
        raise InvalidValueError(f"{quoted(value)} is no size: give at least 1 byte")
    if size_bytes > _MAX_SIZE_BYTES:
        raise InvalidValueError(f"{quoted(value)} is more than any disk holds (1 EiB)")
    return size_bytes


def memory_size(value: str | int) -> int:
    """A VM's memory in bytes: whole MiB."""
    size_bytes = parse_size(value)
    if size_bytes % MIB:
        raise InvalidValueError(f"memory is {quoted(value)}, which is not a multiple of 1 MiB")
    return size_bytes


def disk_size(value: str | int, rule: SizeRule = RAW.size) -> int:
    """The size in bytes of a disk, as its format reads it; of a work or data disk, whole blocks of ext4."""
    size_bytes = parse_size(value)
    if size_bytes < rule.least_bytes:
        raise InvalidValueError(f"size is {quoted(value)}, {rule.too_small}", rule.hint)
    if rule.most_bytes is not None and size_bytes > rule.most_bytes:
        most = exact_size(rule.most_bytes)
        raise InvalidValueError(
            f"size is {quoted(value)}, more than a root of this format can have",
            f"give at most {most}, or take another root.format",
        )
    rest = size_bytes % BLOCK_BYTES
    if rule.is_whole_blocks and rest:
        nearest = size_bytes - rest + (BLOCK_BYTES if rest * 2 >= BLOCK_BYTES else 0)
        message = f"size is {quoted(value)}, which is not a multiple of {BLOCK_BYTES}"
        raise InvalidValueError(message, f"the nearest is {nearest}")
    return size_bytes


def disk_name(text: str) -> str:
    """A data disk's name; the schema has seen to its form."""
    if text in _DISKS_OF_EVERY_VM:
        raise InvalidValueError(f"'{text}' is the name of the VM's own {text} disk", "name it otherwise")
    return text


def guest_path(text: str) -> str:
    """The absolute path that a guest path stands for; `~` is `/root`."""
    if text == "/":
        raise InvalidValueError("'/' is the guest's root directory itself", "name a file or directory in it")
    return _absolute(text)


def mount_target(text: str) -> str:
    """The absolute path of a mount point in the guest."""
    if "\n" in text:
        raise InvalidValueError(f"{quoted(text)} is no mount target: a line of fstab can't hold a line break")
    return "/" if text == "/" else _absolute(text)


def kept_mount(text: str) -> str:
    """What `keep_mounts` names: a mount point, or the source of swap."""
    return text if _DEVICE_TAG.fullmatch(text) else mount_target(text)


def disk_mount(text: str) -> str:
    """The absolute path of the mount point of a disk."""
    if text == "/":
        raise InvalidValueError("'/' is where the root disk is mounted", "mount it elsewhere")
    return mount_target(text)


def is_below(path: str, directory: str) -> bool:
    """Whether a guest path is that directory or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def hostname(text: str) -> str:
    """A host name as RFC 1123 has it: labels of 1 to 63 letters, digits and hyphens; 253 in all."""
    if len(text) > _MAX_HOSTNAME:
        raise InvalidValueError(f"{quoted(text)} is {len(text)} characters long: a host name has at most 253")
    for label in text.split("."):
        if not _LABEL.fullmatch(label):
            raise InvalidValueError(f"{quoted(text)} is no host name: {_what_is_wrong_with(label)}")
    return text


def default_hostname(name: str) -> str:
    """The host name of a VM that gives none: its own name."""
    try:
        return hostname(name)
    except InvalidValueError as err:
        raise InvalidValueError(f"the VM's name {err}", "set hostname") from err


def default_tap(name: str) -> str:
    """The name of the tap device of a VM that gives none; no device has one of more than 15 bytes."""
    tap = f"{_TAP}{name}"
    if len(tap) <= _MAX_DEVICE_BYTES:
        return tap
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{_TAP}{digest}"[:_MAX_DEVICE_BYTES]


def owner(text: str) -> str:
    """`user:group`; the schema has seen to its form, numbers must fit an inode."""
    for part in text.split(":"):
        if part.isdecimal() and int(part) > _MAX_ID:
            raise InvalidValueError(
                f"owner is {quoted(text)}: {part} is no user or group id (at most {_MAX_ID})"
            )
    return text


@lru_cache(maxsize=256)
def exclude_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns that gitignore's syntax allows; the same few are often given to every VM."""
    if patterns:
        from pathspec import GitIgnoreSpec  # noqa: PLC0415  30 ms that a manifest without patterns saves

        for pattern in patterns:
            try:
                GitIgnoreSpec.from_lines([pattern])
            except ValueError as err:
                raise InvalidValueError(f"{quoted(pattern)} is no gitignore pattern") from err
    return patterns


def host_path(text: str, directory: Path) -> HostPath:
    """A host path as written, and the absolute path it stands for.

    Args:
        text: as the manifest has it; `~` is the user's home.
        directory: what a relative path starts from.
    """
    try:
        path = expanded(text)
    except RuntimeError as err:
        raise InvalidValueError(f"{quoted(text)} starts with the home directory of an unknown user") from err
    return HostPath((directory / path).absolute(), text)


def existing(path: HostPath, wanted: Literal["file", "directory", "either"]) -> HostPath:
    """A host path that is there, of the wanted sort; symlinks are followed. What stat says is noted."""
    try:
        found = path.path.stat()
    except OSError as err:
        raise HostFileError(path, *_not_there(path, err)) from err
    observed.note(path.path, found)
    sort = _sort(found)
    if sort != wanted and not (wanted == "either" and sort in ("file", "directory")):
        expected = "a file or a directory" if wanted == "either" else f"a {wanted}"
        raise InvalidValueError(f"{quoted(path.written)} is a {sort}: give {expected}")
    if not os.access(path.path, os.R_OK):
        raise HostFileError(path, f"{quoted(path.written)} can't be read: permission denied")
    return path


def _size_of_text(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidValueError(f'{quoted(text)} is no size: give a number of bytes or a size such as "2GiB"')
    return int(match[1]) * _UNITS[match[2]]


def _absolute(text: str) -> str:
    if text != "~" and not text.startswith(("/", "~/")):
        raise InvalidValueError(f"{quoted(text)} is no guest path", "a guest path begins with / or ~/")
    path = "/root" + text[1:] if text.startswith("~") else text
    for component in path[1:].split("/"):
        if reason := _unfit_component(component):
            raise InvalidValueError(f"{quoted(text)} is no guest path: {reason}")
    return path


def _unfit_component(component: str) -> str | None:
    if not component:
        return "one of its components is empty"
    if component in (".", ".."):
        return f"'{component}' is not allowed in it"
    if "\0" in component:
        return "it holds a NUL"
    if len(component.encode()) > _MAX_NAME_BYTES:
        return "one of its components is longer than 255 bytes"
    return None


def _what_is_wrong_with(label: str) -> str:
    if not label:
        return "one of its labels is empty"
    if len(label) > 63:
        return "one of its labels is longer than 63 characters"
    return "its labels are letters, digits and inner hyphens"


def _not_there(path: HostPath, err: OSError) -> tuple[str, str | None]:
    place = "" if path.written == str(path.path) else f" ({path.path})"
    if isinstance(err, FileNotFoundError) and path.path.is_symlink():
        return (
            f"{quoted(path.written)} is a symlink to {quoted(str(path.path.readlink()))}, which is not there",
            None,
        )
    if isinstance(err, FileNotFoundError):
        return (
            f"{quoted(path.written)} is not there{place}",
            KEY_HINT if _USERS_KEY.fullmatch(path.written) else RELATIVE_HINT,
        )
    return f"{quoted(path.written)} can't be read: {(err.strerror or str(err)).lower()}{place}", None


def _sort(found: os.stat_result) -> str:
    return next(word for is_sort, word in _SORTS if is_sort(found.st_mode))


_SORTS = (  # all there are on Linux
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
)
