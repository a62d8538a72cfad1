"""What goes wrong with disks behind everybody's back, and what a killed guest leaves, made with debugfs."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.disk.ext4_tools import debugfs
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES = 4096


def flip(path: Path, offset: int, *, unnoticed: bool = True) -> None:
    """Change a byte; unnoticed, as a dying disk does it: `stat` says what it said before."""
    before = path.stat()
    mode = before.st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 0xFF]), offset)
    path.chmod(mode)
    if unnoticed:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def command_debugfs(disk: Path, request: str) -> None:
    """Have debugfs change a disk; it says nothing of what goes wrong."""
    subprocess.run([need("debugfs"), "-w", "-R", request, disk], check=True, capture_output=True)


def place_of(disk: Path, guest: str) -> int:
    """Where on a disk of 4 KiB blocks a file's first block lies, in bytes."""
    return int(debugfs(disk, f'bmap "{guest}" 0')) * BLOCK_BYTES


def bitmap_of(disk: Path) -> int:
    """Where its first block bitmap lies, in bytes."""
    done = subprocess.run([need("dumpe2fs"), disk], capture_output=True, text=True, check=True)
    (line, *_) = [line for line in done.stdout.splitlines() if "Block bitmap at" in line]
    return int(line.split()[3]) * BLOCK_BYTES


def leave_in_journal(disk: Path, guest: str, content: bytes) -> None:
    """Leave a disk as a guest does that is killed: a file's new first block is in the journal alone."""
    block = place_of(disk, guest) // BLOCK_BYTES
    new, commands = disk.with_suffix(".new"), disk.with_suffix(".commands")
    new.write_bytes(content.ljust(BLOCK_BYTES, b"\0"))
    commands.write_text(f"jo\njw -b {block} {new}\njc\n")
    subprocess.run([need("debugfs"), "-w", "-f", commands, disk], check=True, capture_output=True)
    new.unlink()
    commands.unlink()
