from __future__ import annotations

import os
import subprocess
import uuid
from itertools import pairwise
from pathlib import Path

import pytest

from bangerbuild.disk import tools
from bangerbuild.errors import ToolError
from bangerbuild.host.process import Command, run
from tests.disk.ext4_tools import assert_clean, debugfs
from tests.need import need

EPOCH = 946_684_800
MIB = 1 << 20
FINGERPRINT = "0123456789abcdef0123456789abcdef"
TIMES = {"E2FSPROGS_FAKE_TIME": "946684800", "SOURCE_DATE_EPOCH": "946684800"}
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"
    "huge_file,dir_nlink,extra_isize,metadata_csum"
)
MKE2FS = (
    f"mke2fs -q -F -t ext4 -b 4096 -I 256 -m 0 -O {FEATURES} -U {tools.name_uuid('f', 'filesystem')} "
    f"-E hash_seed={tools.name_uuid('f', 'hash seed')},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 "
    "-i 16384 /d 512"
)


def made(path: Path, geometry: tools.Geometry, *, fingerprint: str = FINGERPRINT) -> Path:
    run(tools.mke2fs(path, geometry, fingerprint=fingerprint, epoch=EPOCH))
    return path


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    return made(tmp_path / "fresh.ext4", tools.Geometry(64 * MIB))


def header(path: Path) -> dict[str, str]:
    """What dumpe2fs says of a filesystem."""
    command = [need("dumpe2fs", "e2fsprogs"), "-h", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = (line.split(":", 1) for line in printed.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines}


COMMANDS = [
    (
        tools.mke2fs(Path("/d"), tools.Geometry(2 * MIB), fingerprint="f", epoch=EPOCH),
        MKE2FS,
        {"MKE2FS_CONFIG": "/dev/null", "MKE2FS_SKIP_CHECK_MSG": "1", **TIMES},
    ),
    (tools.e2fsck_read_only(Path("/d"), size_bytes=2 * MIB), "e2fsck -fn /d", {}),
    (tools.e2image(Path("/d"), Path("/t"), size_bytes=2 * MIB), "e2image -r /d /t", {}),
    (tools.e2fsck_preen(Path("/d"), epoch=EPOCH), "e2fsck -fp /d", {"E2FSCK_TIME": "946684800", **TIMES}),
    (tools.resize2fs(Path("/d"), size_bytes=2 * MIB, epoch=EPOCH), "resize2fs /d 4096s", TIMES),
    (tools.version(), "mke2fs -V", {}),
]


@pytest.mark.parametrize(("command", "argv", "env"), COMMANDS, ids=lambda value: str(value).split(" ")[0])
def test_a_command_is_exactly_this(command: Command, argv: str, env: dict[str, str]) -> None:
    assert " ".join(command.argv) == argv
    assert command.env == env


@pytest.mark.parametrize(
    ("geometry", "options"),
    [
        (tools.Geometry(MIB), ("-i", "16384")),
        (tools.Geometry(MIB, inodes=500), ("-N", "500")),
        (tools.Geometry(MIB, label="work"), ("-L", "work")),
    ],
)
def test_a_geometry_becomes_options(geometry: tools.Geometry, options: tuple[str, str]) -> None:
    argv = tools.mke2fs(Path("/d"), geometry, fingerprint="f", epoch=EPOCH).argv
    assert options in pairwise(argv)


@pytest.mark.parametrize(("size", "seconds"), [(0, 10), (1 << 30, 13), (64 << 30, 202)])
def test_the_check_of_a_larger_disk_may_take_longer(size: int, seconds: float) -> None:
    command = tools.e2fsck_read_only(Path("/d"), size_bytes=size)
    assert (command.timeout_seconds, command.output_bytes) == (seconds, MIB)


def test_a_uuid_is_made_of_the_fingerprint_and_its_purpose() -> None:
    pairs = [("a", "filesystem"), ("b", "filesystem"), ("a", "hash seed")]
    made_of = {tools.name_uuid(*pair) for pair in pairs}
    assert len(made_of) == 3
    assert tools.name_uuid("a", "filesystem") in made_of
    assert {(value.version, value.variant) for value in made_of} == {(8, uuid.RFC_4122)}


def test_a_new_filesystem_is_clean_and_as_it_was_asked_for(tmp_path: Path) -> None:
    path = made(tmp_path / "new.ext4", tools.Geometry(64 * MIB, inodes=3000, label="work"))
    assert_clean(path)
    found = header(path)
    assert path.stat().st_size == 64 * MIB
    assert found["Block count"] == str(64 * MIB // 4096)
    assert int(found["Inode count"]) >= 3000
    assert found["Filesystem volume name"] == "work"
    assert found["Reserved block count"] == "0"
    assert found["Filesystem UUID"] == str(tools.name_uuid(FINGERPRINT, "filesystem"))
    assert set(found["Filesystem features"].split()) == {*tools.FEATURES} - {"none"}


def test_the_top_directory_of_a_new_filesystem_belongs_to_root(fresh: Path) -> None:
    assert b"User:     0   Group:     0" in debugfs(fresh, "stat /")


def test_a_new_filesystem_costs_next_to_nothing(tmp_path: Path) -> None:
    path = made(tmp_path / "new.ext4", tools.Geometry(1 << 30))
    assert path.stat().st_blocks * 512 < 80 * MIB  # the journal's 32 to 64 MiB count where they are allocated


def test_the_same_call_makes_the_same_bytes_whatever_the_users_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(tmp_path / "first.ext4", tools.Geometry(64 * MIB))
    monkeypatch.setenv("MKE2FS_CONFIG", str(tmp_path / "nothing"))
    monkeypatch.setenv("E2FSPROGS_FAKE_TIME", "5")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    second = made(tmp_path / "second.ext4", tools.Geometry(64 * MIB))
    assert first.read_bytes() == second.read_bytes()


def test_another_fingerprint_makes_another_filesystem(fresh: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other.ext4", tools.Geometry(64 * MIB), fingerprint="f" * 32)
    assert header(other)["Filesystem UUID"] != header(fresh)["Filesystem UUID"]


def test_a_clean_filesystem_passes_the_check_unchanged(fresh: Path) -> None:
    before = fresh.read_bytes()
    assert run(tools.e2fsck_read_only(fresh, size_bytes=64 * MIB)).code == 0
    assert fresh.read_bytes() == before


def break_link_count(path: Path) -> None:
    command = [need("debugfs", "e2fsprogs"), "-w", "-R", "set_inode_field <2> links_count 9", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def test_a_filesystem_with_errors_fails_the_check_with_code_4_and_stays_as_it_is(fresh: Path) -> None:
    break_link_count(fresh)
    before = fresh.read_bytes()
    assert run(tools.e2fsck_read_only(fresh, size_bytes=64 * MIB)).code == 4
    assert fresh.read_bytes() == before


def test_a_file_that_is_no_filesystem_fails_the_check_as_a_tool_does(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(MIB))
    with pytest.raises(ToolError, match="exit code 8"):
        run(tools.e2fsck_read_only(tmp_path / "zeros", size_bytes=MIB))


def test_preening_mends_what_needs_no_answer(fresh: Path) -> None:
    break_link_count(fresh)
    assert run(tools.e2fsck_preen(fresh, epoch=EPOCH)).code == 1
    assert_clean(fresh)


def test_a_filesystem_grows_to_the_size_of_its_file(fresh: Path) -> None:
    run(tools.e2fsck_preen(fresh, epoch=EPOCH))
    os.truncate(fresh, 200 * MIB)
    run(tools.resize2fs(fresh, size_bytes=200 * MIB, epoch=EPOCH))
    assert_clean(fresh)
    assert header(fresh)["Block count"] == str(200 * MIB // 4096)


def test_growing_gives_the_same_bytes_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown = []
    for number, zone in enumerate(("UTC", "Asia/Tokyo")):
        monkeypatch.setenv("TZ", zone)
        path = made(tmp_path / f"{number}.ext4", tools.Geometry(64 * MIB))
        run(tools.e2fsck_preen(path, epoch=EPOCH))
        os.truncate(path, 128 * MIB)
        run(tools.resize2fs(path, size_bytes=128 * MIB, epoch=EPOCH))
        grown.append(path.read_bytes())
    assert grown[0] == grown[1]


def test_the_times_of_a_grown_filesystem_are_the_ones_given(fresh: Path) -> None:
    run(tools.e2fsck_preen(fresh, epoch=EPOCH))
    os.truncate(fresh, 128 * MIB)
    run(tools.resize2fs(fresh, size_bytes=128 * MIB, epoch=EPOCH))
    found = header(fresh)
    times = {found[name] for name in ("Filesystem created", "Last write time", "Last checked")}
    assert {time.split()[-1] for time in times} == {"2000"}


@pytest.mark.parametrize(
    "command",
    [
        tools.e2fsck_read_only(Path("/d"), size_bytes=4 << 30),
        tools.e2fsck_preen(Path("/d"), epoch=EPOCH, size_bytes=4 << 30),
        tools.e2fsck_replay(Path("/d"), epoch=EPOCH, size_bytes=4 << 30),
    ],
)
def test_e2fsck_has_a_time_and_a_memory_by_the_size_of_its_disk(command: Command) -> None:
    assert command.timeout_seconds == 22
    assert command.memory_bytes == (384 + 4 * 24) << 20
    assert command.output_bytes == 1 << 20


def test_where_a_directory_has_a_question_mark_the_command_runs_there(tmp_path: Path) -> None:
    disk = tmp_path / "a?b" / "disk.ext4"
    disk.parent.mkdir()
    run(tools.mke2fs(disk, tools.Geometry(8 << 20), fingerprint="a", epoch=1))
    os.truncate(disk, 16 << 20)
    run(tools.resize2fs(disk, size_bytes=16 << 20, epoch=1, undo=disk.with_name("undo?c")))
    run(tools.tune2fs_label(disk, "label", epoch=1))
    run(tools.e2image(disk, disk.with_name("meta?d"), size_bytes=16 << 20))
    run(tools.e2fsck_preen(disk, epoch=1))
    assert run(tools.e2fsck_read_only(disk, size_bytes=16 << 20)).code == 0
    assert sorted(path.name for path in disk.parent.iterdir()) == ["disk.ext4", "meta?d", "undo?c"]


def test_a_file_with_a_question_mark_is_refused() -> None:
    with pytest.raises(ToolError, match="takes what follows for options"):
        tools.e2fsck_read_only(Path("a?b"), size_bytes=1)
