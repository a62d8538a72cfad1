"""Disks and what lies beside them: exception stores, qcow2 files, disks that are joined with an image, redo
logs, notes of a growth, journals.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bangerbuild.disk import growing, interrupted, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.journal import through_journal
from bangerbuild.disk.overlayfs.tree import JoinedTree
from bangerbuild.disk.qcow2_store import Qcow2Store
from bangerbuild.disk.redo_log import LogWriter, RedoLog, path_beside
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.host.process import run
from tests.disk.ext4_tools import NOW, make_ext4
from tests.disk.journals import Form, Log, journal_blocks
from tests.disk.memory import Memory
from tests.fuzz.frame import Specimen, damaged, few, within_limits

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    from bangerbuild.disk.overlay import OverlayStore
    from tests.fuzz.frame import Place

    Overlays: TypeAlias = dict[type[OverlayStore], bytes]

MIB = 1 << 20
CHUNK = 4096
FILES = ("/etc/hosts", "/srv/text")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = make_ext4(tmp_path_factory.mktemp("base") / "base.ext4", "-b", "4096", size="8M")
    return Specimen(path.read_bytes())


def overlay(kind: type[OverlayStore], base: bytes, path: Path) -> bytes:
    """A small file of the format, with some files written through it."""
    path.unlink(missing_ok=True)
    with kind.create(Memory(base), path, base_name="base.ext4", durable=False) as store:
        with Filesystem(store, writable=True, now=NOW) as disk:
            for name in FILES:
                disk.write_file(name, b"x" * 9000)
        store.commit()
    return Specimen(path.read_bytes())


@pytest.fixture(scope="module")
def overlays(base: bytes, tmp_path_factory: pytest.TempPathFactory) -> Overlays:
    path = tmp_path_factory.mktemp("overlays") / "root"
    return {kind: overlay(kind, base, path) for kind in (SnapshotStore, Qcow2Store)}


def use(kind: type[OverlayStore], base: bytes, path: Path) -> None:
    """Read all of it, and write into it once more."""
    with (
        kind(Memory(base), path, base_name="base.ext4") as store,
        Filesystem(store, allow_unclean=True) as disk,
    ):
        for entry in disk.walk():
            while entry.content is not None and entry.content.read(1 << 20):
                pass
    with kind(Memory(base), path, writable=True, durable=False) as store:
        with Filesystem(store, writable=True, now=NOW) as disk:
            disk.write_file("/new", b"y" * 20_000)
        store.commit()


def changed(sound: bytes, mask: bytes) -> bytes:
    """The file with its first pages changed as a small specimen of zeros was, and cut as that was."""
    data = bytearray(sound)
    for at, byte in enumerate(mask[:PAGE]):
        data[at % len(data)] ^= byte
        data[(CHUNK + at) % len(data)] ^= byte if at % 3 else 0
    return bytes(data[: len(data) - (PAGE - len(mask)) * 64 if len(mask) < PAGE else len(data)])


PAGE = 256
MASK = damaged([bytes(PAGE)], range(0, PAGE, 4))


@pytest.mark.parametrize("kind", [SnapshotStore, Qcow2Store])
@few(60)
@given(mask=MASK)
def test_a_damaged_overlay(
    place: Place,
    base: bytes,
    overlays: Overlays,
    kind: type[OverlayStore],
    mask: bytes,
) -> None:
    path = place.inside / "root"
    path.write_bytes(changed(overlays[kind], mask))
    with within_limits():
        use(kind, base, path)
    place.assert_nothing_else_was_touched()


@pytest.mark.parametrize("kind", [SnapshotStore, Qcow2Store])
def test_a_sound_overlay_is_used(
    place: Place, base: bytes, overlays: Overlays, kind: type[OverlayStore]
) -> None:
    (place.inside / "root").write_bytes(overlays[kind])
    use(kind, base, place.inside / "root")
    with kind(Memory(base), place.inside / "root") as store, Filesystem(store) as disk:
        assert disk.read(FILES[0]) == b"x" * 9000
        assert disk.read("/new") == b"y" * 20_000


# the disk that a guest joins with its image

LOWER = {"/etc/hosts": b"h" * 100, "/srv/text": b"t" * 9000, "/srv/deep/file": b"d", "/opt/old": b"o"}
CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 1 << 16), st.integers(1, 255)), min_size=1, max_size=24
)
"""Which of the blocks in use are changed, where in them, and how."""


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = make_ext4(tmp_path_factory.mktemp("lower") / "lower.ext4", "-b", "4096", size="8M")
    with RawFile(path, writable=True, durable=False) as blocks, Filesystem(blocks, writable=True) as disk:
        for name, content in LOWER.items():
            disk.write_file(name, content)
    return Specimen(path.read_bytes())


@pytest.fixture(scope="module")
def above(lower: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """It has copies, whiteouts and an opaque directory; no checksum keeps what is damaged from being read."""
    options = ("-b", "4096", "-O", "^metadata_csum,^has_journal")
    path = make_ext4(tmp_path_factory.mktemp("above") / "upper.ext4", *options, size="8M")
    with RawFile(path, writable=True, durable=False) as blocks:
        with Filesystem(blocks, writable=True, now=NOW) as disk:
            disk.make_directory("/upper")
            disk.make_directory("/work")
        with Filesystem(Memory(lower)) as under, JoinedTree(blocks, under, writable=True, now=NOW) as tree:
            edit(tree)
    return Specimen(path.read_bytes())


def edit(tree: JoinedTree) -> None:
    """What takes each kind of mark."""
    tree.write_file("/etc/hosts", b"new")
    tree.remove("/opt/old")
    tree.remove("/srv/deep", recursive=True)
    tree.make_directory("/srv/deep")
    tree.write_file("/srv/deep/own", b"own")
    tree.link("/srv/second", "/srv/text")


def use_joined(lower: bytes, path: Path) -> None:
    """Read all of it, and write into it once more."""
    with Filesystem(Memory(lower)) as under:
        with RawFile(path) as blocks, JoinedTree(blocks, under, allow_unclean=True) as tree:
            for entry in tree.walk():
                while entry.content is not None and entry.content.read(1 << 20):
                    pass
        with (
            RawFile(path, writable=True, durable=False) as blocks,
            JoinedTree(blocks, under, writable=True, now=NOW) as tree,
        ):
            tree.write_file("/srv/text", b"y" * 20_000)
            tree.remove("/etc", recursive=True)
            tree.write_file("/etc/hosts", b"again")


@few(120)
@given(changes=CHANGES)
def test_a_damaged_disk_over_an_image(
    place: Place, lower: bytes, above: bytes, changes: list[tuple[int, int, int]]
) -> None:
    used = [at for at in range(0, len(above), CHUNK) if any(above[at : at + CHUNK])]
    data = bytearray(above)
    for block, offset, byte in changes:
        filled = [at for at, old in enumerate(above[used[block % len(used)] :][:CHUNK]) if old]
        data[used[block % len(used)] + filled[offset % len(filled)]] ^= byte
    path = place.inside / "root.upper.ext4"
    path.write_bytes(data)
    with within_limits():
        use_joined(lower, path)
    place.assert_nothing_else_was_touched()


def test_a_sound_disk_over_an_image_is_used(place: Place, lower: bytes, above: bytes) -> None:
    path = place.inside / "root.upper.ext4"
    path.write_bytes(above)
    use_joined(lower, path)
    with (
        Filesystem(Memory(lower)) as under,
        RawFile(path) as blocks,
        JoinedTree(blocks, under) as tree,
    ):
        assert tree.read("/srv/text") == b"y" * 20_000
        assert tree.read("/srv/deep/own") == b"own"
        assert not tree.exists("/srv/deep/file")
        assert not tree.exists("/opt/old")
        assert [entry.path for entry in tree.walk() if entry.path.startswith("etc/")] == ["etc/hosts"]


# what lies beside a disk

SIZE = 10 * 1024 + 700


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    disk = tmp_path_factory.mktemp("log") / "disk"
    disk.write_bytes(bytes(SIZE))
    writer = LogWriter(disk, SIZE, 1024)
    for chunk in (7, 2, 10):
        length = 700 if chunk == 10 else 1024
        writer.add(chunk, bytes(length), bytes([chunk]) * length)
    writer.seal()
    writer.close()
    return Specimen(path_beside(disk).read_bytes())


@few(150)
@given(mask=damaged([bytes(5000)], [*range(0, 64, 4), 1100, 1132, 2200, 4900]))
def test_a_damaged_redo_log(place: Place, log: bytes, mask: bytes) -> None:
    disk = place.inside / "disk"
    disk.write_bytes(bytes(SIZE))
    data = bytes(one ^ other for one, other in zip(log, mask.ljust(len(log), b"\0"), strict=False))
    path_beside(disk).write_bytes(data[: len(mask)] if len(mask) < 5000 else data)
    with within_limits(), RedoLog(disk) as found:
        for chunk in found.places:
            found.new(chunk)
            found.old(chunk)
    with within_limits(), interrupted.open_recovered(disk, "disk") as blocks:
        blocks.read(0, blocks.size_bytes)
    with within_limits():
        interrupted.mend(disk, "disk")
    place.assert_nothing_else_was_touched()
    path_beside(disk).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A disk that was grown to the end, and the undo file of that."""
    path = make_ext4(tmp_path_factory.mktemp("grown") / "disk.ext4", size="4M")
    run(tools.e2fsck_preen(path, epoch=NOW))
    os.truncate(path, 8 * MIB)
    undo = growing.undo_beside(path)
    growing._make_undo(undo)
    run(tools.resize2fs(path, size_bytes=8 * MIB, epoch=NOW, undo=undo))
    return Specimen(path.read_bytes()), Specimen(undo.read_bytes())


@few(40)
@given(note=damaged([b"4194304\n"]), mask=damaged([bytes(PAGE)], range(0, PAGE, 4)))
@example(note=b"9" * 30 + b"\n", mask=bytes(PAGE))
@example(note=b"\n", mask=bytes(PAGE))
@example(note=b"0\n", mask=bytes(PAGE))
@example(note=b"9223372036854775807\n", mask=bytes(PAGE))
def test_a_damaged_note_of_a_growth(
    place: Place, grown: tuple[bytes, bytes], note: bytes, mask: bytes
) -> None:
    disk = place.inside / "disk.ext4"
    disk.write_bytes(grown[0])
    growing.note_beside(disk).write_bytes(note)
    growing.undo_beside(disk).write_bytes(changed(grown[1], mask))
    with within_limits():
        growing.BeforeGrowth(disk, "disk").close()
    with within_limits():
        growing.roll_back(disk, "disk")
    assert disk.stat().st_size in {4 * MIB, 8 * MIB}
    place.assert_nothing_else_was_touched()
    place.clear()


@pytest.fixture(scope="module", params=[0, 1, 2, 3])
def journalled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, list[int]]:
    """A disk with a journal to be replayed, and where the journal's first blocks lie."""
    path = make_ext4(tmp_path_factory.mktemp("journal") / "disk.ext4", "-b", "1024", size="8M")
    log = Log(path, Form(checksums=request.param))
    for number in range(3):
        log.add({6000 + number: bytes([number + 1]) * 1024, 6010: b"\xc0\x3b\x39\x98" * 256}, revoked=[6001])
    return Specimen(path.read_bytes()), [block * 1024 for block in journal_blocks(path)[:16]]


@few(30)
@given(mask=damaged([bytes(16 * 64)], range(0, 16 * 64, 4)))
def test_a_damaged_journal(journalled: tuple[bytes, list[int]], mask: bytes) -> None:
    data = bytearray(journalled[0])
    for number, at in enumerate(journalled[1]):
        for offset, byte in enumerate(mask[number * 64 : number * 64 + 64]):
            data[at + offset] ^= byte
    with within_limits():
        blocks = through_journal(Memory(bytes(data)))
        for offset in range(0, blocks.size_bytes, MIB):
            blocks.read(offset, MIB)
        with Filesystem(blocks, allow_unclean=True) as disk:
            disk.listdir("/")


def test_sound_ones_are_used(
    place: Place, log: bytes, grown: tuple[bytes, bytes], journalled: tuple[bytes, list[int]]
) -> None:
    disk = place.inside / "disk"
    disk.write_bytes(bytes(SIZE))
    path_beside(disk).write_bytes(log)
    assert interrupted.mend(disk, "disk")
    assert disk.read_bytes()[7 * 1024 : 8 * 1024] == b"\7" * 1024
    disk.write_bytes(grown[0])
    growing.note_beside(disk).write_text("4194304\n")
    growing.undo_beside(disk).write_bytes(grown[1])
    assert growing.roll_back(disk, "disk")
    blocks = through_journal(Memory(journalled[0]))
    assert blocks.read(6002 * 1024, 1024) == b"\3" * 1024
