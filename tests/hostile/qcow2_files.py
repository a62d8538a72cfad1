"""qcow2 files that this program does not write, in the place of a root that it did write.

Most are made by qemu-img from the root itself, so that the disk in them is the same; the others are such a
file with some numbers of its tables changed.
"""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.disk.qcow2 import DEFAULT_CLUSTER_BITS
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
CLUSTER = 1 << DEFAULT_CLUSTER_BITS
ONLY_REFERENCE = 1 << 63
L1_OFFSET, REFCOUNT_OFFSET = 40, 48
"""Where the header says where its tables are."""


@dataclass(frozen=True)
class Other:
    """A file, and what comes of it."""

    name: str
    make: Callable[[Path], object]
    """What is done to a root."""
    message: str | None = None
    """What is said, of what can't be used; None: it is read and patched."""


def qemu_img(*arguments: str | Path, cwd: Path | None = None) -> None:
    """Run it to its good end."""
    subprocess.run([need("qemu-img", "qemu-utils"), *arguments], check=True, capture_output=True, cwd=cwd)


def converted(options: str, *arguments: str) -> Callable[[Path], None]:
    """The same disk, written by qemu-img with other options."""

    def make(root: Path) -> None:
        new, base = root.with_name("new"), _base(root)
        qemu_img(
            *("convert", "-f", "qcow2", "-O", "qcow2", "-B", base, "-F", "raw"),
            *(*(("-o", options) if options else ()), *arguments, root.name, new.name),
            cwd=root.parent,
        )
        new.replace(root)

    return make


def _base(root: Path) -> str:
    """What the header calls the base."""
    with root.open("rb") as file:
        at, length = struct.unpack(">QI", file.read(20)[8:])
        file.seek(at)
        return file.read(length).decode()


def with_number(offset: int, number: int, code: str = "Q") -> Callable[[Path], None]:
    """A file with another number in its header."""

    def make(root: Path) -> None:
        with root.open("r+b") as file:
            file.seek(offset)
            file.write(struct.pack(f">{code}", number))

    return make


def _numbers(root: Path, at: int) -> int:
    with root.open("rb") as file:
        file.seek(at)
        (number,) = struct.unpack(">Q", file.read(8))
    return int(number)


def with_entry(change: Callable[[int], int], *tables: int) -> Callable[[Path], None]:
    """A file with another first entry in a table, found by the first entries of those that lead there.

    Args:
        change: the new entry of the old one.
        tables: the place of the first table's offset in the header, then a number for each that follows.
    """

    def make(root: Path) -> None:
        at = _numbers(root, tables[0])
        for _ in tables[1:]:
            at = _first_entry(root, at)[1] & ~ONLY_REFERENCE
        place, entry = _first_entry(root, at)
        with_number(place, change(entry) % (1 << 64))(root)

    return make


def _first_entry(root: Path, table: int) -> tuple[int, int]:
    """The first entry of a table that is not empty, with its place."""
    at = table
    while not (entry := _numbers(root, at)):
        at += 8
    return at, entry


def encrypted(form: str) -> Callable[[Path], None]:
    """A file that is encrypted, and empty otherwise: no guest could be started from it by our files."""

    def make(root: Path) -> None:
        secret = root.with_name("secret")
        secret.write_text("a passphrase")
        base = _base(root)
        root.unlink()
        qemu_img(
            *("create", "-q", "-f", "qcow2", "--object", f"secret,id=s,file={secret}"),
            *("-o", f"encrypt.format={form},encrypt.key-secret=s,encrypt.iter-time=10")[
                : 2 if form == "luks" else 0
            ],
            *(("-o", "encryption=on") if form == "aes" else ()),
            *("-F", "raw", "-b", base, root),
        )
        secret.unlink()

    return make


def _aes(root: Path) -> None:
    """qemu-img makes none any more; the header says so of an old one."""
    with_number(32, 1, "I")(root)


def _with_snapshot(root: Path) -> None:
    qemu_img("snapshot", "-c", "before", root)


def _with_bitmap(root: Path) -> None:
    qemu_img("bitmap", "--add", "-f", "qcow2", root, "backup")


def rebased(base: str) -> Callable[[Path], None]:
    """A file that says it stands on another base."""

    def make(root: Path) -> None:
        qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", base, root)

    return make


def _without_base(root: Path) -> None:
    qemu_img("convert", "-f", "qcow2", "-O", "qcow2", root, root.with_name("new"))
    root.with_name("new").replace(root)


def _of_another_size(root: Path) -> None:
    base = _base(root)
    root.unlink()
    qemu_img("create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, root, "8M")


def _sparse(root: Path) -> None:
    """As large as a file can be, with tables far behind everything."""
    with root.open("r+b") as file:
        file.truncate(1 << 43)
        far = (1 << 43) - (4 << 20)
        file.seek(far)
        file.write(struct.pack(">Q", far + CLUSTER | ONLY_REFERENCE))
    with_number(L1_OFFSET, far)(root)


def _as_guest(*commands: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        words = [word for command in commands for word in ("-c", command)]
        subprocess.run(
            [need("qemu-io", "qemu-utils"), "-f", "qcow2", *words, root], check=True, capture_output=True
        )

    return make


def _dirty_and_counted_wrongly(root: Path) -> None:
    """As a VMM leaves it that is killed and writes refcounts when it ends."""
    with_entry(lambda counts: counts ^ (1 << 16 | 1), REFCOUNT_OFFSET, 0)(root)
    with root.open("r+b") as file:
        file.seek(0, 2)
        file.write(bytes(2 * CLUSTER))
    with_number(72, 1)(root)


OTHERS = [
    *(Other(f"clusters-of-{1 << bits}", converted(f"cluster_size={1 << bits}")) for bits in (9, 14, 16, 21)),
    Other("lazy-refcounts", converted("lazy_refcounts=on")),
    Other("zeroed-in-place", _as_guest("write -P 5 20M 200k", "write -z 20M 200k")),
    Other("dirty", with_number(72, 1)),
    Other("dirty-and-counted-wrongly", _dirty_and_counted_wrongly),
    Other("discarded", _as_guest("write -P 5 20M 200k", "discard 20M 200k")),
    *(
        Other(
            f"refcounts-of-{1 << order}",
            converted(f"refcount_bits={1 << order}"),
            f"refcounts of 2^{order} bits",
        )
        for order in (0, 1, 2, 3, 5, 6)
    ),
    Other("version-2", converted("compat=0.10"), "of version 2"),
    Other("extended-l2", converted("extended_l2=on,cluster_size=64k"), "has extended L2 entries"),
    Other("compressed", converted("", "-c"), "has compressed clusters"),
    Other("compressed-by-zstd", converted("compression_type=zstd", "-c"), "another compression"),
    Other("external-data", converted("data_file=data.raw"), "keeps its data in another file"),
    Other("luks", encrypted("luks"), "is encrypted"),
    Other("aes", _aes, "is encrypted"),
    Other("snapshots", _with_snapshot, "has a snapshot inside"),
    Other("bitmaps", _with_bitmap, "has dirty bitmaps"),
    Other("corrupt", with_number(72, 2), "is marked as corrupt"),
    Other("unknown-feature", with_number(72, 1 << 40), "the unknown feature 40"),
    Other("unknown-autoclear", with_number(88, 1 << 5), "the unknown feature 5"),
    Other("other-base", rebased("../../images/other/abc/rootfs.ext4"), "images/other/abc/rootfs.ext4"),
    Other("base-outside", rebased("../../../outside"), "../outside"),
    Other(
        "base-by-json",
        rebased('json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'),
        "/etc/passwd",
    ),
    Other("no-base", _without_base, "names no base"),
    Other("smaller-disk", _of_another_size, "is a disk of 8 MiB, and its image has 24 MiB"),
    Other("disk-of-exbibytes", with_number(24, 1 << 60), "is damaged"),
    Other("clusters-of-nothing", with_number(20, 0, "I"), "clusters of 2^0 bytes"),
    Other("header-of-4-gib", with_number(100, 0xFFFFFFFF, "I"), ""),
    Other("sparse", _sparse, "is damaged"),
    Other("l1-beyond-the-end", with_number(L1_OFFSET, 1 << 40), "is damaged"),
    Other("l1-unaligned", with_number(L1_OFFSET, 3 * CLUSTER + 8), "is damaged"),
    Other("l1-in-the-header", with_number(L1_OFFSET, 0), "is damaged"),
    Other("l1-of-gibibytes", with_number(36, 0xFFFFFFFF, "I"), "is damaged"),
    Other("refcounts-beyond-the-end", with_number(REFCOUNT_OFFSET, 1 << 40), "is damaged"),
    Other("refcounts-in-the-header", with_number(REFCOUNT_OFFSET, 0), "is damaged"),
    Other("refcounts-of-gibibytes", with_number(56, 0xFFFFFFFF, "I"), "is damaged"),
    Other("l2-beyond-the-end", with_entry(lambda entry: entry + (1 << 40), L1_OFFSET), "is damaged"),
    Other("l2-unaligned", with_entry(lambda entry: entry + 512, L1_OFFSET), "is damaged"),
    Other("l2-in-the-header", with_entry(lambda _: ONLY_REFERENCE, L1_OFFSET), "is damaged"),
    Other("l2-is-the-l1", with_entry(lambda _: 3 * CLUSTER | ONLY_REFERENCE, L1_OFFSET), "is damaged"),
    Other("data-in-the-l2", with_entry(lambda _: 3 * CLUSTER | ONLY_REFERENCE, L1_OFFSET, 0), "is damaged"),
    Other("data-beyond-the-end", with_entry(lambda entry: entry + (1 << 45), L1_OFFSET, 0), "is damaged"),
    Other(
        "data-counted-twice", with_entry(lambda entry: entry & ~ONLY_REFERENCE, L1_OFFSET, 0), "is damaged"
    ),
    Other("block-beyond-the-end", with_entry(lambda entry: entry + (1 << 40), REFCOUNT_OFFSET), "is damaged"),
    Other("block-in-the-l1", with_entry(lambda _: 3 * CLUSTER, REFCOUNT_OFFSET), "is damaged"),
    Other("no-block", with_entry(lambda _: 0, REFCOUNT_OFFSET), "is damaged"),
    Other("counts-of-none", with_entry(lambda _: 0, REFCOUNT_OFFSET, 0), "is damaged"),
]
