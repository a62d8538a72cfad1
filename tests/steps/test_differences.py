"""What a patch would change, file by file: shown before it is written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.model import FileDiff
from bangerbuild.steps import differences as told
from bangerbuild.steps import ledger, patching
from bangerbuild.tree import GuestDirectory, GuestFile, GuestRemoval, GuestSymlink
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.fakes import EPOCH
from tests.steps.host_trees import synced, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bangerbuild.declared import FileSync
    from bangerbuild.disk.inode import Stat
    from bangerbuild.tree import GuestChange


MIB = 1 << 20


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ext4(tmp_path_factory.mktemp("blank") / "blank.ext4", size="16M")


@pytest.fixture
def path(blank: Path, tmp_path: Path) -> Path:
    """A disk of the test's own."""
    target = tmp_path / "disk.ext4"
    target.write_bytes(blank.read_bytes())
    return target


@pytest.fixture
def disk(path: Path) -> Iterator[Filesystem]:
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True) as filesystem:
        yield filesystem
    assert_clean(path)


def differences(disk: Filesystem, *changes: GuestChange) -> list[FileDiff]:
    return list(told.differences(disk, changes, ()))


def tree_differences(disk: Filesystem, sync: FileSync) -> dict[str, str | None]:
    return {diff.guest: diff.note or diff.text for diff in told.differences(disk, (), synced(sync))}


def leads_elsewhere(host: Path) -> None:
    (host / "link").unlink()
    (host / "link").symlink_to("sub")


def is_a_file_now(host: Path) -> None:
    (host / "link").unlink()
    (host / "link").write_text("x")


EDITS: dict[str, Callable[[Path], object]] = {
    "content": lambda host: (host / "file").write_text("TEXT"),
    "size": lambda host: (host / "file").write_text("longer"),
    "mode": lambda host: (host / "file").chmod(0o640),
    "a further file": lambda host: (host / "sub/new").write_text("new"),
    "a further name": lambda host: (host / "name").hardlink_to(host / "file"),
    "a symlink's target": leads_elsewhere,
    "a file in place of a symlink": is_a_file_now,
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_what_is_known_to_be_there_is_not_read_and_what_would_change_is_the_same(
    disk: Filesystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Path], object]
) -> None:
    host = tmp_path / "host"
    (host / "sub").mkdir(parents=True)
    (host / "file").write_text("text")
    (host / "link").symlink_to("file")
    (host / "other").hardlink_to(host / "file")
    changes: list[GuestChange] = [
        GuestFile("/etc/a", b"one\n", 0o640, 1, 2),
        GuestDirectory("/etc/d", 0o750, 1, 2),
        GuestSymlink("/etc/s", "a"),
    ]
    patching.make(disk, changes, EPOCH)
    known = ledger.of_changes(changes) | patching.sync(disk, synced(tree(host)), {})
    edit(host)
    wanted: list[GuestChange] = [
        *changes[1:],
        GuestFile("/etc/a", b"two\n", 0o640, 1, 2),
        GuestRemoval("/etc/s*"),
    ]
    sought = list(told.differences(disk, wanted, synced(tree(host))))
    looked_at: list[str] = []
    stat = Filesystem.stat

    def noted(disk: Filesystem, path: str, *, follow: bool = True) -> Stat | None:
        looked_at.append(path)
        return stat(disk, path, follow=follow)

    monkeypatch.setattr(Filesystem, "stat", noted)
    assert list(told.differences(disk, wanted, synced(tree(host)), known, is_untouched=True)) == sought
    assert set(looked_at) <= {diff.guest for diff in sought} | {"/etc"}


def test_a_new_text_file_is_shown_as_lines_that_are_added(disk: Filesystem) -> None:
    (diff,) = differences(disk, GuestFile("/etc/a", b"one\ntwo\n"))
    assert diff.guest == "/etc/a"
    assert diff.text is not None
    assert diff.text.splitlines()[2:] == ["@@ -0,0 +1,2 @@", "+one", "+two"]


def test_a_changed_text_file_is_shown_as_a_unified_diff(disk: Filesystem) -> None:
    disk.write_file("/resolv.conf", b"# dns\nnameserver 1.1.1.1\n")
    (diff,) = differences(disk, GuestFile("/resolv.conf", b"# dns\nnameserver 9.9.9.9\n"))
    assert diff.to_json() == {
        "guest": "/resolv.conf",
        "diff": "--- /resolv.conf\n+++ /resolv.conf\n@@ -1,2 +1,2 @@\n # dns\n"
        "-nameserver 1.1.1.1\n+nameserver 9.9.9.9\n",
        "note": None,
    }


def test_a_last_line_without_an_end_does_not_run_into_the_next(disk: Filesystem) -> None:
    disk.write_file("/a", b"one")
    (diff,) = differences(disk, GuestFile("/a", b"two"))
    assert diff.text is not None
    assert diff.text.splitlines()[3:] == ["-one", "+two"]


def test_a_file_that_stays_as_it_is_is_not_mentioned(disk: Filesystem) -> None:
    disk.write_file("/a", b"same", mode=0o640, uid=1, gid=2)
    assert differences(disk, GuestFile("/a", b"same", 0o640, 1, 2)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x7fELF\x00\x01", b"text\n"),
        (b"text\n", b"\xff\xfe"),
        (b"text\n", b"\x1b[2Jcleared\n"),
        (b"hidden\rshown\n", b"text\n"),
        ("\N{NEXT LINE}".encode(), b"text\n"),
    ],
)
def test_what_is_no_plain_text_is_not_shown(disk: Filesystem, old: bytes, new: bytes) -> None:
    disk.write_file("/a", old)
    assert differences(disk, GuestFile("/a", new)) == [FileDiff("/a", note=f"binary, {len(new)} bytes")]


NUMBERED = b"".join(b"%d\n" % number for number in range(9000))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n" * (1 << 20), b"a\n\n" * 100),
        (NUMBERED, b"".join(reversed(NUMBERED.splitlines(keepends=True)))),
        (b"a\nb\n" * 2000, b"b\na\n" * 100),
    ],
    ids=["empty lines", "many lines", "lines that are alike"],
)
def test_files_that_a_comparison_would_take_hours_for_are_not_compared(
    disk: Filesystem, old: bytes, new: bytes
) -> None:
    disk.write_file("/a", old)
    note = f"{len(new)} bytes, too many lines to compare"
    assert differences(disk, GuestFile("/a", new)) == [FileDiff("/a", note=note)]


def test_text_of_any_language_with_tabs_and_carriage_returns_is_shown(disk: Filesystem) -> None:
    content = "Grüße\t\N{GREEK SMALL LETTER PI}\N{LINE SEPARATOR}x\r\n"
    (diff,) = differences(disk, GuestFile("/a", content.encode()))
    assert diff.text is not None
    assert diff.text.endswith(f"+{content}")


@pytest.mark.parametrize(
    ("old_mode", "new_mode"), [(0o600, 0o644), (0o644, 0o600), (0o600, 0o400), (0o644, 0o700)]
)
def test_the_content_of_a_file_that_only_its_owner_may_read_is_not_shown(
    disk: Filesystem, old_mode: int, new_mode: int
) -> None:
    disk.write_file("/a", b"old secret\n", mode=old_mode)
    assert differences(disk, GuestFile("/a", b"new secret\n", new_mode)) == [
        FileDiff("/a", note="changes (contents not shown)")
    ]


def test_a_new_secret_is_not_shown_either(disk: Filesystem) -> None:
    assert differences(disk, GuestFile("/a", b"secret\n", 0o600)) == [
        FileDiff("/a", note="changes (contents not shown)")
    ]


def test_another_mode_or_owner_is_told(disk: Filesystem) -> None:
    disk.write_file("/a", b"same", mode=0o600)
    assert differences(disk, GuestFile("/a", b"same", 0o4755, 33, 34)) == [
        FileDiff("/a", note="mode 0600 -> 4755, owner 0:0 -> 33:34")
    ]


def test_a_symlink_in_a_files_place_is_told_as_the_file_that_replaces_it(disk: Filesystem) -> None:
    disk.write_file("/real", b"the target's content\n")
    disk.make_symlink("/a", "/real")
    (diff,) = differences(disk, GuestFile("/a", b"mine\n"))
    assert diff.text is not None
    assert "the target's content" not in diff.text
    assert "+mine" in diff.text


def test_a_large_file_is_told_by_its_size(disk: Filesystem) -> None:
    disk.write_file("/a", bytes(2 * MIB))
    assert differences(disk, GuestFile("/a", b"small\n")) == [FileDiff("/a", note="6 bytes")]


def test_a_symlink_is_told_by_its_target(disk: Filesystem) -> None:
    disk.make_symlink("/same", "target")
    disk.write_file("/file", b"")
    changes = (
        GuestSymlink("/same", "target"),
        GuestSymlink("/file", "target"),
        GuestSymlink("/new", "target"),
    )
    assert differences(disk, *changes) == [
        FileDiff("/file", note="becomes a symlink to target"),
        FileDiff("/new", note="becomes a symlink to target"),
    ]


def test_a_directory_is_told_if_it_is_made_or_changed(disk: Filesystem) -> None:
    disk.make_directory("/same", mode=0o700)
    disk.make_directory("/other")
    changes = (GuestDirectory("/same", 0o700), GuestDirectory("/other", 0o700), GuestDirectory("/new"))
    assert differences(disk, *changes) == [
        FileDiff("/other", note="mode 0755 -> 0700"),
        FileDiff("/new", note="is made"),
    ]


def test_what_is_removed_is_told_name_by_name(disk: Filesystem) -> None:
    disk.make_directory("/ssh")
    for name in ("ssh_host_rsa_key", "ssh_host_rsa_key.pub", "sshd_config"):
        disk.write_file(f"/ssh/{name}", b"")
    assert differences(disk, GuestRemoval("/ssh/ssh_host_*")) == [
        FileDiff("/ssh/ssh_host_rsa_key", note="is removed"),
        FileDiff("/ssh/ssh_host_rsa_key.pub", note="is removed"),
    ]
    assert differences(disk, GuestRemoval("/nowhere/ssh_host_*"), GuestRemoval("/ssh/gone")) == []


def test_a_host_tree_is_told_entry_by_entry(disk: Filesystem, tmp_path: Path) -> None:
    host = tmp_path / "host"
    (host / "new").mkdir(parents=True)
    (host / "a").write_text("new\n")
    (host / "b").hardlink_to(host / "a")
    (host / "link").symlink_to("a")
    (host / "big").write_bytes(bytes(2 * MIB))
    disk.make_directory("/srv")
    disk.write_file("/srv/a", b"old\n")
    told = tree_differences(disk, tree(host))
    assert told.pop("/srv/a", "").splitlines()[3:] == ["-old", "+new"]  # type: ignore[union-attr]  # a text
    assert told == {
        "/srv/b": "is made",
        "/srv/big": f"{2 * MIB} bytes",
        "/srv/link": "becomes a symlink to a",
        "/srv/new": "is made",
    }


def test_a_large_file_that_is_the_same_is_not_mentioned(disk: Filesystem, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "big").write_bytes(os.urandom(2 * MIB))
    patching.sync(disk, synced(tree(host)), {})
    assert tree_differences(disk, tree(host)) == {}
    (host / "big").write_bytes(os.urandom(2 * MIB))
    assert tree_differences(disk, tree(host)) == {"/srv/big": f"{2 * MIB} bytes"}


def test_looking_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with RawFile(path) as blocks, Filesystem(blocks) as disk:
        assert differences(disk, GuestFile("/a/b", b"new"), GuestDirectory("/d"), GuestRemoval("/l*"))
    assert path.read_bytes() == before


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
MODES = st.sampled_from([0o644, 0o600, 0o4755])
CHANGES = st.one_of(
    st.builds(GuestFile, PATHS, st.binary(max_size=40), MODES, st.integers(0, 70_000)),
    st.builds(GuestDirectory, PATHS, st.sampled_from([0o755, 0o700, 0o1777])),
    st.builds(GuestSymlink, PATHS, st.sampled_from(["nowhere", "/x/y"])),
)


def sensible(changes: Sequence[GuestChange]) -> list[GuestChange]:
    """One change for each path, and none below what is no directory."""
    chosen: dict[str, GuestChange] = {change.path: change for change in changes}
    leaves = [path for path, change in chosen.items() if not isinstance(change, GuestDirectory)]
    return [
        change for path, change in chosen.items() if not any(path.startswith(f"{leaf}/") for leaf in leaves)
    ]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=40,
)
@given(changes=st.lists(CHANGES, max_size=8).map(sensible))
def test_once_changes_are_made_there_is_nothing_left_to_change(
    blank: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[GuestChange]
) -> None:
    path = tmp_path_factory.mktemp("made") / "disk.ext4"
    path.write_bytes(blank.read_bytes())
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True) as disk:
        patching.make(disk, changes, EPOCH)
    assert_clean(path)
    with RawFile(path) as blocks, Filesystem(blocks) as disk:
        assert differences(disk, *changes) == []
    path.unlink()


SECRET = GuestFile("/token", b"new\n", 0o644, salt="0c" * 32)
PLAIN = GuestFile("/token", b"new\n", 0o644)


@pytest.mark.parametrize(
    ("change", "before"), [(SECRET, None), (SECRET, PLAIN), (PLAIN, SECRET), (SECRET, SECRET)]
)
def test_neither_a_secret_nor_what_was_one_is_shown(
    disk: Filesystem, change: GuestFile, before: GuestFile | None
) -> None:
    disk.write_file("/token", b"old\n", mode=0o644)
    lines = ledger.of_changes([before] if before else [])
    assert list(told.differences(disk, [change], (), lines)) == [HIDDEN]
    if before is SECRET:
        assert list(told.withdrawn(disk, None, "/token", lines["/token"])) == [HIDDEN]


HIDDEN = FileDiff("/token", note="changes (contents not shown)")
