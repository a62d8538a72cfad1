"""A process that damages one disk again and again, and reads and writes what is left of it.

Its numbers on stdout say how far it came; a crash, an endless loop or an error that is none of ours ends it.
    python -m tests.hostile.campaign DISK FIRST COUNT
"""

from __future__ import annotations

import faulthandler
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import BangerError
from tests.disk.ext4_tools import NOW
from tests.disk.memory import Memory
from tests.hostile.damage import HOWS, Region, damaged, regions

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SECONDS = 10
"""Of work for each damage; a machine that does much else may take longer for it."""
MOST_READ_BYTES = 1 << 22
READ = ("/", "/etc", "/etc/hostname", "/etc/hosts", "/etc/passwd", "/etc/ssh", "/usr/lib/systemd/systemd")


def damage(sound: bytes, parts: dict[str, Region], number: int) -> bytes:
    """The disk after damage number so and so: one part in one way, and every third time a second one."""
    chance = random.Random(number)  # noqa: S311 - damage, not cryptography
    names = list(parts)
    data = bytearray(sound)
    for turn in range(2 if number % 3 == 0 else 1):
        offset, length = parts[names[(number + turn) % len(names)] if turn == 0 else chance.choice(names)]
        how = HOWS[number // len(names) % len(HOWS)]
        data[offset : offset + length] = damaged(bytes(data[offset : offset + length]), how, chance)
    return bytes(data)


def read(disk: Memory) -> None:
    """Ask for all that can be asked."""
    with Filesystem(disk, allow_unclean=True) as fs:
        for path in READ:
            for ask in (fs.stat, fs.get_xattrs, fs.listdir, fs.stats, fs.read_chunks):
                with suppress(BangerError):
                    _exhaust(ask(path))
        with suppress(BangerError):
            for entry in fs.walk():
                left = MOST_READ_BYTES
                while left > 0 and entry.content and (piece := entry.content.read(1 << 16)):
                    left -= len(piece)


def _exhaust(answer: object) -> None:
    left = MOST_READ_BYTES
    if hasattr(answer, "__next__"):
        for piece in answer:  # type: ignore[attr-defined] # it has __next__
            left -= len(piece) if isinstance(piece, bytes) else 0
            if left < 0:
                return


def write(disk: Memory, chance: random.Random) -> None:
    """Change what a patch changes, in some order, until something breaks off."""
    with Filesystem(disk, writable=True, now=NOW) as fs:
        changes: list[Callable[[], object]] = [
            lambda: fs.write_file("/etc/hostname", b"web"),
            lambda: fs.write_file("/etc/hosts", b"127.0.0.1 web\n", xattrs={"user.a": b"b" * 100}),
            lambda: fs.write_file("/etc/app/below/app.conf", b"x" * 9000),
            lambda: fs.write_file("/var/large", b"z" * 300_000),
            lambda: [fs.write_file(f"/etc/{'q' * 100}{number}", b"y") for number in range(40)],
            lambda: fs.make_symlink("/etc/machine-id", "x" * 200),
            lambda: fs.make_directory("/etc/systemd/system"),
            lambda: fs.set_attributes("/etc", mode=0o700),
            lambda: fs.set_xattr("/etc/hostname", "user.b", b"c" * 50),
            lambda: fs.remove_xattr("/etc/hostname", "user.short"),
            lambda: fs.remove("/etc/ssh/ssh_host_rsa_key"),
            lambda: fs.link("/etc/passwd-", "/etc/passwd"),
            lambda: fs.remove("/etc", recursive=True),
        ]
        for change in chance.sample(changes, len(changes)):
            change()


def main(path: str, first: str, count: str) -> None:
    """Damage, read, damage, write."""
    sound, parts = Path(path).read_bytes(), regions(Path(path))
    for number in range(int(first), int(first) + int(count)):
        print(number, flush=True)  # noqa: T201 - the test wants to know which one it was
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        data = damage(sound, parts, number)
        with suppress(BangerError):
            read(Memory(data))
        with suppress(BangerError):
            write(Memory(data), random.Random(number))  # noqa: S311 - an order, not cryptography
    signal.setitimer(signal.ITIMER_PROF, 0)
    print("peak MiB", peak_mib())  # noqa: T201 - see above


def peak_mib() -> int:
    """What this process had in memory at most; getrusage's figure is its parent's, if that had more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # dumps the traceback, then the signal ends the process
    main(*sys.argv[1:])
