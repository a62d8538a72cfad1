"""Check that a file is an uncompressed kernel for x86-64 or arm64, and read its release.

    0x04  u8   class: 2 is 64-bit          0x10  u16  type: 2 is EXEC
    0x05  u8   data: 1 is little-endian    0x12  u16  machine: 62 is x86-64
    0x20  u64  offset of the program headers, 0x36 u16 their size, 0x38 u16 their number

and in each program header: u32 type (1 is LOAD), at 0x10 the u64 virtual address. Source: elf(5). A kernel is
linked to the upper half of the address space; a program never is.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
from typing import TYPE_CHECKING

from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel.payload import ELF_MAGIC

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_IDENT = ELF_MAGIC + b"\x02\x01"
_HEADER_BYTES = 64
_PROGRAM_HEADER_BYTES = 56
_EXEC = 2
_X86_64 = 62
_LOAD = 1
_KERNEL_HALF = 1 << 63
_MACHINES = {3: "32-bit x86", 40: "32-bit ARM", 183: "arm64", 243: "RISC-V"}
_BANNER = re.compile(rb"Linux version (\d[^\s\0]*) \(")
_ARM64_IMAGE_MAGIC = b"ARM\x64"


def is_arm64_image(head: bytes) -> bool:
    """Whether a file that begins with `head` is an arm64 Image (Documentation/arch/arm64/booting.rst)."""
    return head[56:60] == _ARM64_IMAGE_MAGIC


def check_elf(path: Path) -> None:
    """Check that an ELF file is a vmlinux for x86-64.

    Raises:
        FormatError: it is not.
    """
    with path.open("rb") as file:
        check_elf_file(file)


def check_elf_file(file: BinaryIO) -> None:
    """The same of an open file."""
    file.seek(0)
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(ELF_MAGIC):
        raise FormatError("is no kernel: it holds no ELF file")
    _check_machine(header)
    (offset,) = struct.unpack_from("<Q", header, 0x20)
    size, count = struct.unpack_from("<HH", header, 0x36)
    if size != _PROGRAM_HEADER_BYTES:
        raise FormatError(f"is no kernel: its program headers have {size} bytes, not {_PROGRAM_HEADER_BYTES}")
    file.seek(min(offset, file.seek(0, io.SEEK_END)))
    addresses = list(_load_addresses(file.read(size * count)))
    if struct.unpack_from("<H", header, 0x10) != (_EXEC,) or not any(at >= _KERNEL_HALF for at in addresses):
        raise FormatError("is no kernel: it looks like an ELF program")


def _check_machine(header: bytes) -> None:
    (machine,) = struct.unpack_from("<H", header, 0x12)
    if not header.startswith(_IDENT) or machine != _X86_64:
        name = _MACHINES.get(machine, f"machine {machine} of the ELF numbers")
        raise FormatError(f"is no kernel for x86-64: its ELF header says {name}")


def _load_addresses(table: bytes) -> Iterator[int]:
    for offset in range(0, len(table) - _PROGRAM_HEADER_BYTES + 1, _PROGRAM_HEADER_BYTES):
        (kind,) = struct.unpack_from("<I", table, offset)
        if kind == _LOAD:
            yield struct.unpack_from("<Q", table, offset + 0x10)[0]


def release_of(path: Path) -> str | None:
    """The output of `uname -r`, from the banner in an uncompressed kernel; None if there is none."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _BANNER.search(data)
        return found[1].decode("ascii", "replace") if found else None
