from __future__ import annotations

import errno
import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import growing, interrupted, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.growing import BeforeGrowth, note_beside, old_size, roll_back, undo_beside
from bangerbuild.disk.libext2fs import crc32c
from bangerbuild.errors import BangerError, FilesystemError, ToolError
from bangerbuild.host.process import Command
from tests.disk.ext4_tools import NOW, assert_clean, change_superblock, clone, debugfs
from tests.disk.faults import Fault, Kill, Killed, running_on
from tests.disk.growths import (
    EPOCH,
    GROWTHS,
    MIB,
    PLAIN,
    Growth,
    grow_killed,
    grow_tampered,
    made,
    undone_by_e2undo,
    writes_of,
)
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 6
"""How many there are in each geometry, at blocks; and at the superblock."""


@pytest.fixture(params=GROWTHS, ids=lambda growth: growth.name)
def growth(request: pytest.FixtureRequest) -> Growth:
    found: Growth = request.param
    return found


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return made(tmp_path / "disk.ext4", PLAIN)


def seen(disk: Path) -> bytes:
    """The disk as it is read while something lies beside it."""
    with interrupted.open_recovered(disk, "disk") as blocks:
        pieces = range(0, blocks.size_bytes, MIB)
        return b"".join(blocks.read(at, min(MIB, blocks.size_bytes - at)) for at in pieces)


def assert_alone(disk: Path) -> None:
    """Nothing is left beside the disk."""
    assert [left for left in interrupted.leftovers(disk) if left.exists()] == []


def killed(disk: Path, at: int = 20) -> Path:
    assert grow_killed(disk, PLAIN, at)
    return disk


def test_a_disk_grows_and_keeps_what_is_on_it(disk: Path) -> None:
    growing.grow(disk, "disk", PLAIN.new_bytes, epoch=EPOCH)
    assert_clean(disk)
    assert disk.stat().st_size == PLAIN.new_bytes
    assert debugfs(disk, "cat /d2/f29") == bytes([29]) * 88_000
    assert debugfs(disk, "stats").count(b"Block count:              51200") == 1
    assert_alone(disk)


def test_a_growth_is_undone_to_the_last_bit_wherever_it_was_killed(growth: Growth, tmp_path: Path) -> None:
    """Or it stays, where all of it was there."""
    start, disk = made(tmp_path / "start", growth), tmp_path / "disk.ext4"
    old = start.read_bytes()
    clone(start, disk)
    count = writes_of(disk, growth)
    assert_clean(disk)
    changed = 0
    places = [("pwrite64", at) for at in range(1, count + 1, max(1, count // KILLS))]
    for call, at in (*places, *(("write", at) for at in range(3, 3 + KILLS))):
        disk.unlink()
        clone(start, disk)
        assert grow_killed(disk, growth, at, call)
        assert interrupted.is_half_grown(disk)
        with disk.open("rb") as file:
            changed += file.read(len(old)) != old
        is_whole = growing.is_grown(disk)
        if not is_whole:
            assert seen(disk) == old, at
        assert roll_back(disk, "disk")
        assert disk.stat().st_size == (growth.new_bytes if is_whole else len(old))
        if is_whole:
            assert_clean(disk)
            assert debugfs(disk, "cat /d2/f29") == bytes([29]) * 88_000
        else:
            assert disk.read_bytes() == old, at
        assert_alone(disk)
    assert not roll_back(disk, "disk")
    assert changed > KILLS // 2
    growing.grow(disk, "disk", growth.new_bytes, epoch=EPOCH)
    assert_clean(disk)


def test_e2undo_says_the_same_but_for_its_mark_in_the_superblock(disk: Path, tmp_path: Path) -> None:
    old, other = disk.read_bytes(), tmp_path / "other"
    killed(disk, at=40)
    clone(disk, other)
    clone(undo_beside(disk), undo_beside(other))
    undone_by_e2undo(other, len(old))
    roll_back(disk, "disk")
    assert disk.read_bytes()[:1024] + disk.read_bytes()[2048:] == old[:1024] + other.read_bytes()[2048:]


BEGUN, DONE = 4, 6
"""Calls: the note is synced; the undo file is made, and both names synced; the disk is cut to its size,
grown, and synced; then the note goes."""


def test_a_growth_that_was_killed_when_all_was_done_stays(disk: Path) -> None:
    with running_on(Kill(at=DONE)), pytest.raises(Killed):
        growing.grow(disk, "disk", PLAIN.new_bytes, epoch=EPOCH)
    grown = disk.read_bytes()
    assert (len(grown), interrupted.is_half_grown(disk)) == (PLAIN.new_bytes, True)
    assert seen(disk) == grown
    assert roll_back(disk, "disk")
    assert disk.read_bytes() == grown
    assert_clean(disk)
    assert_alone(disk)


def test_a_whole_disk_that_a_guest_used_before_its_note_was_gone_keeps_what_it_wrote(disk: Path) -> None:
    with running_on(Kill(at=DONE)), pytest.raises(Killed):
        growing.grow(disk, "disk", PLAIN.new_bytes, epoch=EPOCH)
    undo_beside(disk).unlink()
    with RawFile(disk, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as filesystem:
        filesystem.write_file("/precious", b"a guest's")
    change_superblock(disk, mnt_count=7)
    used = disk.read_bytes()
    assert seen(disk) == used
    assert roll_back(disk, "disk")
    assert disk.read_bytes() == used
    assert_alone(disk)


@pytest.mark.parametrize("is_clean", [True, False], ids=["in order", "with a guest's journal to replay"])
@pytest.mark.parametrize("undo", [None, b"", b"\0" * 600], ids=["no undo file", "an empty one", "zeros"])
def test_a_note_that_does_not_fit_the_disk_cuts_nothing_off(
    disk: Path, undo: bytes | None, *, is_clean: bool
) -> None:
    """As of a power cut that took the undo file, or of one who wrote the note."""
    note_beside(disk).write_text(f"{8 * MIB}\n")
    if undo is not None:
        undo_beside(disk).write_bytes(undo)
    if not is_clean:
        change_superblock(disk, state=0)
    before = disk.read_bytes()
    if is_clean:
        assert roll_back(disk, "disk")
        assert_alone(disk)
    else:
        for act in (seen, lambda disk: roll_back(disk, "disk")):
            with pytest.raises(FilesystemError, match="was interrupted, and can't be undone") as error:
                act(disk)
            assert error.value.details == (
                "the note beside it says that it had 8388608 bytes, "
                "but as the undo file has it its filesystem has 16777216 bytes"
            )
        assert note_beside(disk).exists()
    assert disk.read_bytes() == before


def test_a_disk_of_which_the_undo_file_lacks_blocks_is_not_cut(disk: Path) -> None:
    """As of a power cut, on a host whose undo file is not ahead of the disk."""
    killed(disk, at=50)
    content = bytearray(undo_beside(disk).read_bytes())
    header = struct.pack("<8sQ", b"E2UNDO02", 1) + content[16:508]
    content[:512] = header + struct.pack("<I", crc32c(0xFFFFFFFF, bytes(header)))
    undo_beside(disk).write_bytes(content)
    with pytest.raises(FilesystemError, match="can't be undone whole"):
        roll_back(disk, "disk")
    assert disk.stat().st_size == PLAIN.new_bytes
    assert note_beside(disk).exists()


def test_the_undo_file_is_on_the_disk_before_what_it_is_there_for(disk: Path) -> None:
    """Its every write waits for the disk, where the host's filesystem can do that."""
    probe = disk.with_name("probe")
    probe.touch()
    if subprocess.run([need("chattr"), "+S", probe], capture_output=True, check=False).returncode:
        pytest.skip("no file here whose every write is synced")
    killed(disk)
    listed = subprocess.run(
        [need("lsattr"), undo_beside(disk)], capture_output=True, check=True, text=True
    ).stdout
    assert "S" in listed.split()[0]


@pytest.mark.parametrize("at", range(1, 9))
def test_a_growth_that_is_killed_between_its_programs_leaves_the_old_disk_or_the_new(
    disk: Path, at: int
) -> None:
    old = disk.read_bytes()
    with running_on(Kill(at=at)), pytest.raises(Killed):
        growing.grow(disk, "disk", PLAIN.new_bytes, epoch=EPOCH)
    before = seen(disk)
    roll_back(disk, "disk")
    assert disk.read_bytes() == before
    assert (before == old) == (at <= BEGUN)
    assert_clean(disk)
    assert_alone(disk)


@pytest.mark.parametrize("at", range(1, 40, 3))
def test_undoing_that_is_killed_is_finished_by_the_next(disk: Path, at: int) -> None:
    old = disk.read_bytes()
    killed(disk, at=50)
    with running_on(Kill(at=at)):
        try:
            roll_back(disk, "disk")
        except Killed:
            assert seen(disk) == old
    roll_back(disk, "disk")
    assert disk.read_bytes() == old
    assert_alone(disk)


# a host that fails


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("victim", ["disk", "undo file"])
@pytest.mark.parametrize("at", [1, 4, 7, 10, 20, 40])
def test_a_write_that_fails_in_resize2fs_leaves_the_disk_as_it_was_or_grown(
    disk: Path, at: int, victim: str, *, for_good: bool
) -> None:
    old, path = disk.read_bytes(), disk if victim == "disk" else undo_beside(disk)
    plus = "+" if for_good else ""
    faults = (f"inject=pwrite64:error=EIO:when={at}{plus}", f"inject=write:error=EIO:when=1{plus}")
    try:
        grow_tampered(disk, PLAIN, "-P", str(path), *(part for fault in faults for part in ("-e", fault)))
    except BangerError:
        assert disk.read_bytes()[4096:] == old[4096:]  # the superblock may say when it was mended
    assert_clean(disk)
    assert b"Filesystem state:         clean" in debugfs(disk, "stats -h")
    assert_alone(disk)


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("at", range(1, 12))
def test_a_superblock_that_can_be_written_in_part_only_leaves_the_disk_as_it_was_or_grown(
    disk: Path, at: int, *, for_good: bool
) -> None:
    """Where the last of its writes fails, resize2fs ends well all the same."""
    old = disk.read_bytes()
    fault = f"inject=write:error=ENOSPC:when={at}{'+' if for_good else ''}"
    try:
        grow_tampered(disk, PLAIN, "-P", str(disk), "-e", fault)
    except BangerError:
        assert disk.read_bytes() == old
    assert_clean(disk)
    assert_alone(disk)
    growing.grow(disk, "disk", PLAIN.new_bytes, epoch=EPOCH)
    assert_clean(disk)


@pytest.mark.parametrize("at", range(1, 5))
def test_a_fault_before_resize2fs_leaves_the_disk_as_it_was(disk: Path, at: int) -> None:
    old = disk.read_bytes()
    with running_on(Fault(at=at, code=errno.ENOSPC)), pytest.raises(OSError, match="No space left"):
        growing.grow(disk, "disk", PLAIN.new_bytes, epoch=EPOCH)
    assert disk.read_bytes() == old
    assert_alone(disk)


def test_a_fault_while_undoing_throws_nothing_away(disk: Path) -> None:
    old = disk.read_bytes()
    killed(disk, at=50)
    for at in range(1, 6):
        with running_on(Fault(at=at, code=errno.EIO)), pytest.raises((FilesystemError, OSError)):
            roll_back(disk, "disk")
        assert seen(disk) == old
    roll_back(disk, "disk")
    assert disk.read_bytes() == old


def test_where_undoing_fails_too_the_disk_is_said_to_be_grown_by_half(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = disk.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(tools, "resize2fs", lambda *_args, **_more: Command(("false",)))
        patched.setattr(growing, "roll_back", broken)
        with pytest.raises(FilesystemError, match="'disk' is grown by half: input/output error"):
            growing.grow(disk, "disk", PLAIN.new_bytes, epoch=EPOCH)
    assert interrupted.is_half_grown(disk)
    roll_back(disk, "disk")
    assert disk.read_bytes() == old


def test_a_growth_without_resize2fs_is_a_tool_error_and_changes_nothing(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = disk.read_bytes()
    monkeypatch.setattr(tools, "resize2fs", lambda *_args, **_more: Command(("no-such-resize2fs",)))
    with pytest.raises(ToolError, match="'no-such-resize2fs' is not installed"):
        growing.grow(disk, "disk", PLAIN.new_bytes, epoch=EPOCH)
    assert disk.read_bytes() == old
    assert_alone(disk)


# a disk that was used after the interruption


def assert_refused(disk: Path) -> None:
    """Neither reading nor undoing is possible; nothing is changed, nothing thrown away."""
    before = disk.read_bytes(), undo_beside(disk).read_bytes(), note_beside(disk).read_bytes()
    for act in (seen, lambda disk: roll_back(disk, "disk")):
        with pytest.raises(
            FilesystemError, match="'disk' was used since its growth was interrupted"
        ) as error:
            act(disk)
        note, undo = note_beside(disk), undo_beside(disk)
        assert error.value.hint == f"e2fsck -f '{disk}', then rm '{note}' '{undo}'"
    assert (disk.read_bytes(), undo_beside(disk).read_bytes(), note_beside(disk).read_bytes()) == before


@pytest.mark.parametrize("field", ["mnt_count", "mtime", "lastcheck"])
def test_a_disk_that_was_mounted_or_checked_since_is_not_undone(disk: Path, field: str) -> None:
    killed(disk)
    change_superblock(disk, **{field: 7})
    assert_refused(disk)


def test_a_check_by_e2fsck_counts_as_use_and_then_the_note_may_go(disk: Path) -> None:
    killed(disk, at=50)
    subprocess.run([need("e2fsck"), "-fy", disk], capture_output=True, check=False)
    assert_refused(disk)
    for left in (note_beside(disk), undo_beside(disk)):
        left.unlink()
    assert_clean(disk)
    assert not roll_back(disk, "disk")


@pytest.mark.root
def test_a_whole_disk_that_a_kernel_mounted_since_keeps_what_was_written(disk: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    killed(disk, at=55)
    point = tmp_path / "mnt"
    point.mkdir()
    mounted = subprocess.run([need("mount"), "-o", "loop", disk, point], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no loop device here")
    try:
        (point / "precious").write_text("a guest's")
    finally:
        subprocess.run([need("umount"), point], check=True)
    used = disk.read_bytes()
    assert seen(disk) == used
    assert roll_back(disk, "disk")
    assert disk.read_bytes() == used
    assert debugfs(disk, "cat /precious") == b"a guest's"


def test_a_growth_is_not_undone_on_another_filesystem(disk: Path, tmp_path: Path) -> None:
    killed(disk)
    other = made(tmp_path / "other", PLAIN)
    subprocess.run([need("tune2fs"), "-U", "random", other], capture_output=True, check=True)
    disk.write_bytes(other.read_bytes())
    assert_refused(disk)


# what lies beside the disk


def test_where_there_is_no_note_an_undo_file_means_nothing(disk: Path) -> None:
    old = disk.read_bytes()
    undo_beside(disk).write_bytes(b"left over")
    assert seen(disk) == old
    assert not roll_back(disk, "disk")
    assert disk.read_bytes() == old
    assert_alone(disk)


@pytest.mark.parametrize("text", ["", "1677721"])
def test_a_note_that_was_cut_short_says_that_nothing_had_begun(disk: Path, text: str) -> None:
    old = disk.read_bytes()
    note_beside(disk).write_text(text)
    assert old_size(disk) == len(old)
    assert seen(disk) == old
    assert roll_back(disk, "disk")
    assert disk.read_bytes() == old
    assert_alone(disk)


@pytest.mark.parametrize("content", [b"-5\n", b"12 34\n", b"\xff\xfe\n", "١٢\n".encode(), b"\n", b"1e3\n"])
def test_a_note_that_is_no_number_is_refused_and_stays(disk: Path, content: bytes) -> None:
    note_beside(disk).write_bytes(content)
    for act in (seen, lambda disk: roll_back(disk, "disk"), old_size):
        with pytest.raises(FilesystemError, match="is damaged"):
            act(disk)
    assert note_beside(disk).read_bytes() == content


def test_a_growth_whose_undo_file_was_lost_is_not_taken_for_undone(disk: Path) -> None:
    killed(disk, at=50)
    undo_beside(disk).unlink()
    with pytest.raises(FilesystemError, match="can't be undone whole") as error:
        roll_back(disk, "disk")
    assert error.value.details
    assert note_beside(disk).exists()


def test_a_damaged_undo_file_is_refused_and_changes_nothing(disk: Path) -> None:
    killed(disk, at=50)
    before = disk.read_bytes()
    content = bytearray(undo_beside(disk).read_bytes())
    content[3 * 4096 + 5] ^= 1
    undo_beside(disk).write_bytes(content)
    for act in (seen, lambda disk: roll_back(disk, "disk")):
        with pytest.raises(BangerError, match="is damaged"):
            act(disk)
    assert disk.read_bytes() == before
    assert note_beside(disk).exists()


# a disk that is read past its growth


def test_it_can_only_be_read_and_only_up_to_its_old_end(disk: Path) -> None:
    killed(disk)
    blocks = BeforeGrowth(disk, "a name")
    assert (blocks.name, blocks.place, blocks.writable) == ("a name", str(disk), False)
    assert blocks.size_bytes == 16 * MIB
    with pytest.raises(FilesystemError, match="'a name' is open for reading"):
        blocks.write(0, b"x")
    with pytest.raises(FilesystemError, match="'a name' ends before"):
        blocks.read(16 * MIB - 1, 2)
    blocks.flush()
    blocks.close()


def test_reading_past_a_growth_touches_nothing(disk: Path) -> None:
    killed(disk)
    before = [left.stat().st_mtime_ns for left in (disk, note_beside(disk), undo_beside(disk))]
    seen(disk)
    assert [left.stat().st_mtime_ns for left in (disk, note_beside(disk), undo_beside(disk))] == before


def test_every_stretch_is_read_as_it_was(disk: Path) -> None:
    old = disk.read_bytes()
    killed(disk, at=50)
    blocks = BeforeGrowth(disk, "disk")
    for offset in range(0, 64 * 4096, 1000):
        for length in (1, 512, 5000, 9000):
            assert blocks.read(offset, length) == old[offset : offset + length]
    blocks.close()
