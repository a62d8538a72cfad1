"""What a patch remembers of what it wrote, and what it then sees of it in the guest."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import ledger_lines
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.model import Verb
from bangerbuild.model.fingerprint import canonical_json
from bangerbuild.steps import ledger, patching
from bangerbuild.tree import EntryType, GuestDirectory, GuestFile, GuestRemoval, GuestSymlink
from tests.disk.ext4_tools import clone, make_ext4
from tests.disk.filesystems import make_node
from tests.fakes import EPOCH
from tests.projects import write_tar
from tests.steps.guest_disks import IMAGE, as_guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from bangerbuild.tree import GuestChange
    from tests.projects import Project

CONF = GuestFile("/etc/app.conf", b"port = 80\n", 0o640, 7, 8)
KEYS = "/root/.ssh/authorized_keys"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ext4(tmp_path_factory.mktemp("small") / "small.ext4", size="8M")


@pytest.fixture
def path(small: Path, tmp_path: Path) -> Path:
    clone(small, tmp_path / "disk.ext4")
    return tmp_path / "disk.ext4"


@pytest.fixture
def disk(path: Path) -> Iterator[Filesystem]:
    """A guest with a symlinked directory."""
    with as_guest(path) as filesystem:
        filesystem.make_directory("/etc")
        filesystem.make_directory("/usr/lib")
        filesystem.make_symlink("/lib", "usr/lib")
        yield filesystem


def make(disk: Filesystem, *changes: GuestChange) -> dict[str, str]:
    patching.make(disk, changes, EPOCH)
    return ledger.of_changes(changes)


# the lines


def test_each_change_leaves_a_line_of_words_and_a_removal_none() -> None:
    digest = hashlib.sha256(b"port = 80\n").hexdigest()
    changes = (
        CONF,
        GuestSymlink("/run/app", "../var/run/app"),
        GuestDirectory("/root/.ssh", 0o700, 1, 2),
        GuestRemoval("/etc/ssh/ssh_host_*"),
    )
    assert ledger.of_changes(changes) == {
        "/etc/app.conf": f"file 0640 7:8 10 {digest}",
        "/run/app": "symlink 0:0 ../var/run/app",
        "/root/.ssh": "directory 0700 1:2",
    }


def test_a_path_has_one_spelling() -> None:
    assert list(ledger.of_changes([GuestFile("/etc//a/./b/", b"")])) == ["/etc/a/b"]


def test_of_two_changes_of_one_path_the_later_one_is_remembered() -> None:
    lines = ledger.of_changes([GuestFile("/a", b"1"), GuestSymlink("/a", "b")])
    assert lines == {"/a": "symlink 0:0 b"}


@given(name=st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & set(b"\0/")))
def test_a_line_of_any_name_and_target_survives_being_stored(name: bytes) -> None:
    text = name.decode(errors="surrogateescape")
    lines = {f"/{text}": ledger.symlink(0, 0, text)}
    assert json.loads(canonical_json(dict(lines))) == lines


@given(content=st.binary(max_size=5000), sizes=st.lists(st.integers(0, 700), max_size=20))
def test_a_stream_is_hashed_as_it_is_read(content: bytes, sizes: list[int]) -> None:
    stream = ledger.Hashed(cast("BinaryIO", BytesIO(content)))
    read = b"".join(stream.read(size) for size in sizes) + stream.read()
    assert read == content
    assert stream.digest(len(content)) == hashlib.sha256(content).hexdigest()


# what is there


@pytest.mark.parametrize(
    "change",
    [
        CONF,
        GuestFile("/etc/empty", b""),
        GuestFile("/usr/bin/tool", b"\x7fELF" * 900_000, 0o4755),
        GuestSymlink("/etc/link", "anywhere"),
        GuestSymlink("/etc/long", "x" * 200),
        GuestDirectory("/etc/d", 0o1777, 3, 4),
        GuestFile("/lib/through.conf", b"a symlink"),
    ],
    ids=lambda change: change.path,
)
def test_what_was_written_is_there(disk: Filesystem, change: GuestChange) -> None:
    lines = make(disk, change)
    ledger.check(disk, lines)
    assert list(ledger_lines.differing(disk, lines)) == []
    needed = [change] if isinstance(change, GuestDirectory) else []
    assert list(ledger.still_needed(disk, [change])) == needed


CHANGED: dict[str, Callable[[Filesystem], object]] = {
    "content": lambda disk: disk.write_file("/etc/app.conf", b"port = 81\n", mode=0o640, uid=7, gid=8),
    "longer": lambda disk: disk.write_file("/etc/app.conf", b"port = 80\n\n", mode=0o640, uid=7, gid=8),
    "mode": lambda disk: disk.set_attributes("/etc/app.conf", mode=0o644),
    "set-id": lambda disk: disk.set_attributes("/etc/app.conf", mode=0o4640),
    "owner": lambda disk: disk.set_attributes("/etc/app.conf", uid=0),
    "group": lambda disk: disk.set_attributes("/etc/app.conf", gid=0),
    "gone": lambda disk: disk.remove("/etc/app.conf"),
    "directory": lambda disk: (disk.remove("/etc/app.conf"), disk.make_directory("/etc/app.conf")),
    "symlink": lambda disk: disk.make_symlink("/etc/app.conf", "app.conf.d"),
    "device": lambda disk: make_node(disk, "/etc/app.conf", EntryType.CHARACTER_DEVICE, device=(1, 3)),
    "fifo": lambda disk: make_node(disk, "/etc/app.conf", EntryType.FIFO),
    "parent gone": lambda disk: disk.remove("/etc", recursive=True),
    "parent a file": lambda disk: (disk.remove("/etc", recursive=True), disk.write_file("/etc", b"")),
    "parent a loop": lambda disk: (disk.remove("/etc", recursive=True), disk.make_symlink("/etc", "etc")),
}


@pytest.mark.parametrize("how", CHANGED)
def test_what_a_guest_changed_differs(disk: Filesystem, how: str) -> None:
    lines = make(disk, CONF)
    CHANGED[how](disk)
    assert list(ledger_lines.differing(disk, lines)) == ["/etc/app.conf"]
    assert list(ledger.still_needed(disk, [CONF])) == [CONF]
    with pytest.raises(FilesystemError, match=r"'/etc/app\.conf' in .* does not read back as it was written"):
        ledger.check(disk, lines)


def test_times_and_attributes_are_the_guests_own_affair(disk: Filesystem) -> None:
    lines = make(disk, CONF)
    disk.set_attributes("/etc/app.conf", mtime_ns=5)
    disk.set_xattr("/etc/app.conf", "user.note", b"x")
    assert list(ledger_lines.differing(disk, lines)) == []


def test_a_file_with_another_name_is_there_but_is_written_again(disk: Filesystem) -> None:
    """A guest that writes to the other name would change it."""
    lines = make(disk, CONF)
    disk.link("/etc/other", "/etc/app.conf")
    assert list(ledger_lines.differing(disk, lines)) == []
    assert list(ledger.still_needed(disk, [CONF])) == [CONF]


def test_a_directory_that_was_only_there_may_have_any_owner_and_mode(disk: Filesystem) -> None:
    disk.make_directory("/srv", mode=0o700, uid=5)
    for line in (ledger_lines.PLAIN_DIRECTORY, ledger_lines.NEW_DIRECTORY):
        assert ledger_lines.is_there(disk, "/srv", line)
        assert ledger_lines.is_there(disk, "/lib", line)
        assert not ledger_lines.is_there(disk, "/nowhere", line)
    assert not ledger_lines.is_there(disk, "/srv", "directory 0755 0:0")


def test_a_file_is_read_only_if_all_else_is_the_same(
    disk: Filesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = make(disk, CONF)
    disk.set_attributes("/etc/app.conf", mode=0o600)
    monkeypatch.setattr(Filesystem, "read_chunks", lambda *_: pytest.fail("it was read"))
    assert list(ledger_lines.differing(disk, lines)) == ["/etc/app.conf"]


def test_differing_paths_come_in_their_order(disk: Filesystem) -> None:
    lines = make(disk, *(GuestFile(f"/etc/{name}", b"") for name in "cab"))
    disk.remove("/etc", recursive=True)
    assert list(ledger_lines.differing(disk, lines)) == ["/etc/a", "/etc/b", "/etc/c"]


# two paths that are one


def test_two_paths_of_one_name_must_not_differ(disk: Filesystem) -> None:
    lines = make(disk, GuestFile("/lib/x", b"1"), GuestFile("/usr/lib/x", b"2"))
    with pytest.raises(GuestPathError, match="'/lib/x' and '/usr/lib/x' are one file in") as error:
        ledger.refuse_two_of_one(disk, lines)
    assert error.value.hint == "declare it under one of the two paths only"


def test_two_paths_of_one_name_may_be_the_same(disk: Filesystem) -> None:
    lines = make(disk, GuestFile("/lib/x", b"1"), GuestFile("/usr/lib/x", b"1"))
    ledger.refuse_two_of_one(disk, lines)


def test_the_same_name_in_two_directories_is_no_conflict(disk: Filesystem) -> None:
    lines = make(disk, GuestFile("/lib/x", b"1"), GuestFile("/etc/x", b"2"), GuestFile("/x", b"3"))
    ledger.refuse_two_of_one(disk, lines)


def test_a_directory_through_a_symlink_is_no_conflict(disk: Filesystem) -> None:
    lines = {"/lib/d": ledger_lines.NEW_DIRECTORY, "/usr/lib/d": ledger_lines.PLAIN_DIRECTORY}
    disk.make_directory("/lib/d")
    ledger.refuse_two_of_one(disk, lines)


def test_a_manifest_that_declares_one_file_twice_is_refused_and_leaves_the_disk(debian: Project) -> None:
    vm = f'{IMAGE}[vm.web]\nimage = "debian"\n'
    files = "".join(
        f'[[vm.web.file]]\nguest = "{place}/x.conf"\ncontent = "{place}"\n' for place in ("/lib", "/usr/lib")
    )
    write_tar(debian.directory / "root.tar", {"usr/lib/old": "x"}, links={"lib": "usr/lib"})
    debian.write(vm + files)
    both = "'/lib/x.conf' and '/usr/lib/x.conf'"
    message = f"{both} are one file in 'vms/web/root.cow', and shall not be the same"
    assert debian.error("vm.web.root.patch").brief == message
    debian.write(vm)
    debian.build()
    with debian.as_guest() as guest:
        guest.write_file("/precious", b"x")
    before = debian.cow().read_bytes()
    debian.write(vm + files)
    assert debian.error("vm.web.root.patch").brief == message
    assert debian.cow().read_bytes() == before


# what is no longer declared


def test_files_and_made_directories_that_left_the_manifest_are_undeclared_those_below_first(
    disk: Filesystem,
) -> None:
    disk.write_file("/srv/tree/deep/file", b"")
    disk.make_directory("/made")
    lines = {
        "/srv": ledger_lines.PLAIN_DIRECTORY,
        "/srv/tree": ledger_lines.NEW_DIRECTORY,
        "/srv/tree/deep": ledger_lines.NEW_DIRECTORY,
        "/srv/tree/deep/file": "file",
        "/made": "directory 0755 0:0",
        "/gone": "file",
    }
    assert ledger.undeclared(disk, lines, ()) == ["/srv/tree/deep/file", "/srv/tree/deep", "/srv/tree"]
    assert ledger.undeclared(disk, lines, ("/srv/tree",)) == ["/srv/tree/deep/file", "/srv/tree/deep"]
    assert ledger.undeclared(disk, lines, lines) == []


def test_keys_stay_when_none_are_given_any_more(disk: Filesystem) -> None:
    disk.write_file(KEYS, b"a key\n")
    assert ledger.undeclared(disk, {KEYS: "file"}, ()) == []


def test_a_path_that_is_declared_in_another_way_now_is_not_undeclared(disk: Filesystem) -> None:
    lines = make(disk, GuestFile("/lib/x", b"1"))
    assert ledger.undeclared(disk, lines, ("/usr/lib/x",)) == []
    assert ledger.undeclared(disk, lines, ("/usr/lib/y",)) == ["/lib/x"]


def test_a_path_that_leads_nowhere_any_more_is_not_undeclared(disk: Filesystem) -> None:
    lines = make(disk, CONF)
    CHANGED["parent a loop"](disk)
    assert ledger.undeclared(disk, lines, ()) == []


def test_a_file_that_is_still_ours_is_removed(disk: Filesystem) -> None:
    lines = make(disk, CONF)
    assert ledger.withdraw(disk, None, "/etc/app.conf", lines["/etc/app.conf"])
    assert not disk.exists("/etc/app.conf")
    assert disk.exists("/etc")


@pytest.mark.parametrize("how", ["content", "mode", "symlink", "directory"])
def test_what_a_guest_changed_stays(disk: Filesystem, how: str) -> None:
    lines = make(disk, CONF)
    CHANGED[how](disk)
    there = disk.stat("/etc/app.conf", follow=False)
    assert not ledger.withdraw(disk, None, "/etc/app.conf", lines["/etc/app.conf"])
    assert disk.stat("/etc/app.conf", follow=False) == there


def test_a_directory_that_was_made_goes_only_if_it_is_empty(disk: Filesystem) -> None:
    disk.make_directory("/made/deep")
    assert ledger.withdraw(disk, None, "/made", ledger_lines.NEW_DIRECTORY)
    assert disk.exists("/made/deep")
    assert ledger.withdraw(disk, None, "/made/deep", ledger_lines.NEW_DIRECTORY)
    assert ledger.withdraw(disk, None, "/made", ledger_lines.NEW_DIRECTORY)
    assert not disk.exists("/made")


LARGE = bytes(range(256)) * 12_000


@pytest.fixture
def base(small: Path, tmp_path: Path) -> Iterator[Filesystem]:
    """The image under the guest, with files of its own."""
    clone(small, tmp_path / "base.ext4")
    with as_guest(tmp_path / "base.ext4") as image:
        image.write_file("/etc/app.conf", LARGE, mode=0o600, uid=9, gid=9, xattrs={"user.of": b"the image"})
        image.make_symlink("/etc/link", "the/images", uid=3)
        make_node(image, "/etc/pipe", EntryType.FIFO)
    with RawFile(tmp_path / "base.ext4") as blocks, Filesystem(blocks) as image:
        yield image


def test_the_images_own_file_comes_back_with_all_that_it_is(disk: Filesystem, base: Filesystem) -> None:
    lines = make(disk, CONF)
    assert ledger.withdraw(disk, base, "/etc/app.conf", lines["/etc/app.conf"])
    found, own = disk.stat("/etc/app.conf"), base.stat("/etc/app.conf")
    assert found is not None
    assert own is not None
    assert disk.read("/etc/app.conf") == LARGE
    assert (found.mode, found.uid, found.gid, found.mtime_ns) == (0o600, 9, 9, own.mtime_ns)
    assert disk.get_xattrs("/etc/app.conf") == {"user.of": b"the image"}


def test_the_images_own_symlink_comes_back(disk: Filesystem, base: Filesystem) -> None:
    lines = make(disk, GuestFile("/etc/link", b"a file for once"))
    assert ledger.withdraw(disk, base, "/etc/link", lines["/etc/link"])
    found = disk.stat("/etc/link", follow=False)
    assert found is not None
    assert (found.type, found.target, found.uid) == (EntryType.SYMLINK, "the/images", 3)


def test_what_the_image_has_of_no_use_there_does_not_come_back(disk: Filesystem, base: Filesystem) -> None:
    lines = make(disk, GuestFile("/etc/pipe", b"a file for once"))
    assert ledger.withdraw(disk, base, "/etc/pipe", lines["/etc/pipe"])
    assert not disk.exists("/etc/pipe")


def test_a_path_that_moved_through_a_symlink_keeps_its_file(debian: Project) -> None:
    """`/lib/x` becomes `/usr/lib/x` in the manifest: one file in the guest, and it must not go."""
    write_tar(debian.directory / "root.tar", {"usr/lib/old": "x"}, links={"lib": "usr/lib"})

    def declare(place: str) -> None:
        file = f'[[vm.web.file]]\nguest = "{place}/x.conf"\ncontent = "1"\n'
        debian.write(f'{IMAGE}[vm.web]\nimage = "debian"\n{file}')

    declare("/lib")
    debian.build()
    with debian.as_guest() as guest:
        guest.write_file("/precious", b"x")
    declare("/usr/lib")
    debian.build()
    assert debian.guest().text("/usr/lib/x.conf") == "1"
    assert debian.plan()["vm.web.root.patch"].verb is Verb.KEEP


def test_the_line_of_a_secret_has_a_salt_and_tells_its_content_all_the_same(disk: Filesystem) -> None:
    secret = GuestFile("/token", b"sesame", 0o600, salt="0c" * 32)
    disk.write_file("/token", b"sesame", mode=0o600)
    (line,) = ledger.of_changes([secret]).values()
    assert line == f"file 0600 0:0 6 {'0c' * 32}:{hashlib.sha256(bytes([12] * 32) + b'sesame').hexdigest()}"
    assert ledger_lines.is_secret(line)
    assert ledger_lines.is_there(disk, "/token", line)
    disk.write_file("/token", b"sesamE", mode=0o600)
    assert not ledger_lines.is_there(disk, "/token", line)
    assert not any(
        map(ledger_lines.is_secret, ("symlink 0:0 a:b c d e", "directory", "new directory 0755 0:0"))
    )
