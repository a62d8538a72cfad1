"""Read a kernel's build configuration, and find the options that a VM needs and the kernel lacks.

A kernel built with CONFIG_IKCONFIG holds its own configuration, gzipped, between `IKCFG_ST` and `IKCFG_ED`
(kernel/configs.c); distributions install one as `config-RELEASE`.
"""

from __future__ import annotations

import mmap
import re
import zlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import TypeAlias

    Answer: TypeAlias = Literal["y", "m", "n"]
    Answers: TypeAlias = Mapping[str, Answer | None]
    """By option: built in, module, absent; None: unknown."""

BLOCK, TRANSPORTS, ROOT_FILESYSTEM, IP = "VIRTIO_BLK", ("VIRTIO_PCI", "VIRTIO_MMIO"), "EXT4_FS", "IP_PNP"
OVERLAY = "OVERLAY_FS"
OPTIONS = (BLOCK, *TRANSPORTS, ROOT_FILESYSTEM, IP, OVERLAY)
"""The options that are checked."""
LIMIT_BYTES = 16 << 20
"""The limit for a configuration; usual ones have about 300 KiB."""
_EMBEDDED = b"IKCFG_ST\x1f\x8b"
_SETTING = re.compile(r"^CONFIG_(\w+)=(y|m)$", re.MULTILINE)


def embedded(plain_kernel: Path) -> str | None:
    """The configuration in an uncompressed kernel; None if there is none, or it is damaged."""
    with plain_kernel.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(_EMBEDDED)
        end = data.find(b"IKCFG_ED", start) if start >= 0 else -1
        packed = data[start + 8 : end] if end >= 0 else b""
    stream = zlib.decompressobj(wbits=31)
    try:
        text = stream.decompress(packed, LIMIT_BYTES)
    except zlib.error:
        return None
    return text.decode("ascii", "replace") if stream.eof else None


def answers(text: str | None, options: Iterable[str] = OPTIONS) -> dict[str, Answer | None]:
    """The value of each option in a configuration; all None without a configuration."""
    if text is None:
        return dict.fromkeys(options)
    said: dict[str, Answer] = {found[1]: "y" if found[2] == "y" else "m" for found in _SETTING.finditer(text)}
    return {option: said.get(option, "n") for option in options}


def missing_for_root(said: Answers, *, has_initrd: bool) -> tuple[str, ...]:
    """The options that a kernel lacks to mount its root disk; modules count if there is an initrd.

    One of the two transports is enough. Unknown options count as present.
    """
    enough = ("y", "m", None) if has_initrd else ("y", None)
    lacking = [option for option in (BLOCK, ROOT_FILESYSTEM) if said.get(option) not in enough]
    if all(said.get(option) not in enough for option in TRANSPORTS):
        lacking[1:1] = TRANSPORTS
    return tuple(lacking)


def ignores_ip(said: Answers) -> bool:
    """Whether the kernel is known to ignore `ip=` on its command line."""
    return said.get(IP) == "n"
