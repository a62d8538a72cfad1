"""Small kernels for tests: an ELF file that could be one, and a bzImage around it as a real build has it."""

from __future__ import annotations

import gzip
import random
import struct
import subprocess
import tarfile
from typing import TYPE_CHECKING

from tests.boot.debian import KERNEL, tarball
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "6.1.0-9-test-amd64"
COMPRESSORS = {
    "gzip": ("gzip", "-n", "-9"),
    "bzip2": ("bzip2", "-9"),
    "xz": ("xz", "--check=crc32", "--x86", "--lzma2=dict=32MiB"),
    "lzma": ("xz", "--format=lzma", "-9"),
    "lz4": ("lz4", "-l", "-9"),
    "zstd": ("zstd", "-22", "--ultra", "-q"),
}
"""The commands in scripts/Makefile.lib of the kernel."""


def elf(
    *,
    release: str = RELEASE,
    config: str | None = None,
    filler_bytes: int = 4096,
    machine: int = 62,
    kind: int = 2,
    address: int = 0xFFFFFFFF81000000,
    bits: int = 64,
) -> bytes:
    """An ELF file with one segment to load; it holds a banner and noise that hardly compresses."""
    content = f"Linux version {release} (build@host) (gcc) #1 SMP\n\0".encode()
    if config is not None:
        content += b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED"
    content += random.Random(0).randbytes(filler_bytes)  # noqa: S311  # the same bytes each time
    ident = b"\x7fELF" + bytes((bits // 32, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0x1000000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 120, address, 0x1000000, len(content), len(content), 8)
    return ident + header + load + content


def packed(data: bytes, compressor: str) -> bytes:
    """A payload: the stream of the command-line tool, and behind it, but for gzip, the plain size."""
    program, *options = COMPRESSORS[compressor]
    command = [need(program, {"xz": "xz-utils"}.get(program)), *options, "-c"]
    stream = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    return stream if compressor == "gzip" else stream + struct.pack("<I", len(data))


def bzimage(
    payload: bytes, *, release: str = RELEASE, version: int = 0x020F, length: int | None = None
) -> bytes:
    """A bzImage: a boot sector, three sectors of setup, some protected-mode code, the payload, its end."""
    image = bytearray(4 * 512)
    image[0x1F1] = 3
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x200:0x206] = b"\xeb\x66HdrS"
    code = b"\xf4" * 700
    struct.pack_into("<H", image, 0x206, version)
    struct.pack_into("<H", image, 0x20E, 0x400 - 0x200)
    image[0x211] = 1  # LOADED_HIGH: what makes it a bzImage
    struct.pack_into("<II", image, 0x248, len(code), len(payload) if length is None else length)
    text = f"{release} (build@host) #1 SMP\0".encode()
    image[0x400 : 0x400 + len(text)] = text
    return bytes(image) + code + payload + bytes(100)


def arm64_image() -> bytes:
    """The head of an arm64 Image, and a banner."""
    content = f"Linux version {RELEASE} (build@host) (gcc) #1 SMP\n\0".encode()
    return bytes(56) + b"ARM\x64" + bytes(68) + content + bytes(4096)


def debian_boot(directory: Path) -> Path:
    """`boot/` of Debian's kernel package, unpacked into a directory."""
    with tarfile.open(tarball(KERNEL)) as archive:
        members = [member for member in archive if member.name.startswith("./boot/")]
        archive.extractall(directory, members, filter="data")
    return directory / "boot"


def readelf(path: Path, *options: str) -> str:
    """What binutils say of an ELF file; a complaint fails the test."""
    command = [need("readelf", "binutils"), "-W", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout
