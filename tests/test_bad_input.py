"""Bad input at the command line: one plain message, the right exit code, nothing half-made or changed."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import clone
from bangerbuild.errors import SourceError
from bangerbuild.model import Outcome
from bangerbuild.steps import patching
from tests import PROJECT
from tests.disk.ext4_tools import change_superblock, make_ext4
from tests.formats.tarmaking import END, member
from tests.need import need
from tests.projects import DEBIAN, Disk, Project, merge, write_tar
from tests.unprivileged import run_bangerbuild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.steps.patching import PlacedEntry
    from tests.conftest import CommandLine

MIB = 1 << 20
GOOD = '[image.good.rootfs]\ntar = "good.tar"\nsize = "24MiB"\n[vm.good]\nimage = "good"\n'
BAD = '[image.bad.rootfs]\n{source}\n[vm.bad]\nimage = "bad"\n'


@dataclass
class Setting:
    """A project in which an image and a VM are built and fine."""

    directory: Path
    cli: CommandLine

    @property
    def store(self) -> Path:
        return self.directory / "build"

    def artifacts(self) -> dict[str, str]:
        """Every disk in the store and its digest."""
        return {
            str(path.relative_to(self.store)): clone.digest(path)
            for path in self.store.rglob("*")
            if path.suffix in {".ext4", ".cow"}
        }

    def write(self, more: str) -> None:
        (self.directory / "vm.toml").write_text(GOOD + more)

    def assert_refused(self, more: str, message: str, *, code: int = 1) -> None:
        """What is added to the manifest is refused in these words; no artifact comes, goes or changes."""
        before = self.artifacts()
        self.write(more)
        done = self.cli("apply", "--keep-going", cwd=self.directory)
        self.assert_plain(done, message, code)
        assert self.artifacts() == before
        assert list((self.store / ".staging").iterdir()) == []

    def assert_plain(self, done: subprocess.CompletedProcess[str], message: str, code: int) -> None:
        assert "Traceback" not in done.stderr
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert done.stderr.count("error: ") <= 1
        assert ".staging" not in done.stderr


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, cli: CommandLine) -> Path:
    directory = tmp_path_factory.mktemp("template")
    write_tar(directory / "good.tar", DEBIAN)
    (directory / "vm.toml").write_text(GOOD)
    done = cli("apply", cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture
def setting(template: Path, tmp_path: Path, cli: CommandLine) -> Setting:
    subprocess.run([need("cp", "coreutils"), "-a", "--sparse=always", f"{template}/.", tmp_path], check=True)
    return Setting(tmp_path, cli)


# manifests


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[vm.bad\n", ": not valid TOML: "),
        ('[vm.bad]\nimage = "goood"\n', "did you mean 'good'?"),
        ('[vm.bad]\nimag = "good"\n', "did you mean 'image'?"),
        (BAD.format(source='tar = "nowhere.tar"'), "nowhere.tar"),
        (BAD.format(source='directory = "good.tar"'), "good.tar"),
        (BAD.format(source='tar = "build"'), "build"),
        ('[vm.bad]\nimage = "good"\nfile_sync = [{ host = "nowhere", guest = "/a" }]\n', "nowhere"),
        ('[vm.bad]\nimage = "good"\nfile = [{ content = "", guest = "relative" }]\n', "relative"),
        ('[vm.bad]\nimage = "good"\nroot.size = "8KiB"\n', "too small a store"),
        ('include = ["vm.toml"]\n', "include"),
    ],
)
def test_a_manifest_with_a_mistake_is_refused_before_anything_is_touched(
    setting: Setting, more: str, message: str
) -> None:
    before = (setting.artifacts(), (setting.store / "state.db").read_bytes())
    text = more + GOOD if more.startswith("include") else GOOD + more
    (setting.directory / "vm.toml").write_text(text)
    done = setting.cli("apply", cwd=setting.directory)
    setting.assert_plain(done, message, 3)
    assert (setting.artifacts(), (setting.store / "state.db").read_bytes()) == before


# an ext4 that is none, or no sound one


def run_debugfs(path: Path, request: str) -> None:
    subprocess.run([need("debugfs"), "-w", "-R", request, str(path)], check=True, capture_output=True)


BAD_EXT4: dict[str, tuple[Callable[[Path], object], str]] = {
    "gzip": (lambda path: path.write_bytes(gzip.compress(path.read_bytes())), "it looks like a gzip stream"),
    "qcow2": (lambda path: path.write_bytes(b"QFI\xfb" + bytes(MIB)), "it looks like a qcow2 disk image"),
    "empty": (lambda path: os.truncate(path, 0), "'disk.ext4' holds no ext4 filesystem: it is empty"),
    "truncated": (lambda path: os.truncate(path, 8 * MIB), "'disk.ext4' is cut short"),
    "text": (lambda path: path.write_text("no disk" * 1000), "its magic number is missing"),
    "marked": (lambda path: change_superblock(path, state=2), "'disk.ext4' is marked as having errors"),
    "broken": (
        lambda path: run_debugfs(path, "set_inode_field <2> links_count 9"),
        "the filesystem in 'disk.ext4' has errors",
    ),
    "journal": (
        lambda path: run_debugfs(path, "feature needs_recovery"),
        "'disk.ext4' has an unreplayed journal",
    ),
}


@pytest.mark.parametrize("damage", BAD_EXT4)
def test_a_rootfs_that_is_no_sound_ext4_is_refused(setting: Setting, damage: str) -> None:
    make, message = BAD_EXT4[damage]
    source = make_ext4(setting.directory / "disk.ext4", size="16M")
    make(source)
    before = source.read_bytes()
    setting.assert_refused(BAD.format(source='ext4 = "disk.ext4"'), message)
    assert source.read_bytes() == before


def test_a_rootfs_that_is_full_cannot_be_patched(setting: Setting) -> None:
    source = make_ext4(setting.directory / "disk.ext4", "-m", "0", size="16M")
    (setting.directory / "filler").write_bytes(os.urandom(20 * MIB))
    run_debugfs(source, f"write {setting.directory}/filler filler")
    assert subprocess.run([need("e2fsck"), "-fy", source], capture_output=True, check=False).returncode in {
        0,
        1,
    }
    big = f'file = [{{ guest = "/big", content = "{"x" * 50_000}" }}]\n'
    before = setting.artifacts()
    setting.write(BAD.format(source='ext4 = "disk.ext4"') + big)
    done = setting.cli("apply", "--keep-going", cwd=setting.directory)
    setting.assert_plain(done, "no space left in the guest filesystem", 1)
    left = setting.artifacts()
    assert left.items() >= before.items()
    assert [name for name in left if name.startswith("vms/bad")] == []


def test_a_size_that_is_too_small_for_the_content_is_refused(setting: Setting) -> None:
    (setting.directory / "tree").mkdir()
    (setting.directory / "tree" / "big").write_bytes(os.urandom(20 * MIB))
    setting.assert_refused(
        BAD.format(source='directory = "tree"\nsize = "16MiB"'), "make `size` larger, or leave it out"
    )


# tarballs

BAD_TARBALLS: dict[str, tuple[bytes, str]] = {
    "truncated": (member(b"big", b"x" * 100_000)[:50_000], "'bad.tar' ends in the middle of 'big'"),
    "truncated gzip": (
        gzip.compress(member(b"big", os.urandom(100_000)) + END)[:50_000],
        "'bad.tar' ends in the middle of 'big'",
    ),
    "dots": (member(b"../evil", b"x") + END, "'bad.tar': '../evil' leads out of the tree with '..'"),
    "dots below": (member(b"a/../../evil", b"x") + END, "leads out of the tree with '..'"),
    "long name": (
        member(b"././@LongLink", b"n" * 256 + b"\0", kind=b"L") + member(b"n", b"x") + END,
        "has a name longer than 255 bytes",
    ),
    "garbage": (b"garbage" * 10_000, "'bad.tar' is no tarball"),
    "empty file": (b"", "'bad.tar' is"),
}


@pytest.mark.parametrize("case", BAD_TARBALLS)
def test_a_tarball_that_cannot_be_taken_is_refused(setting: Setting, case: str) -> None:
    content, message = BAD_TARBALLS[case]
    (setting.directory / "bad.tar").write_bytes(content)
    setting.assert_refused(BAD.format(source='tar = "bad.tar"\nsize = "16MiB"'), message)
    assert not (setting.directory.parent / "evil").exists()


def test_a_tarball_that_is_only_odd_is_taken_as_tar_takes_it(setting: Setting) -> None:
    content = (
        member(b"late/file", b"x")
        + member(b"late/", kind=b"5", mode=0o700)
        + member(b"twice", b"one")
        + member(b"twice", b"two")
        + member(b"/abs/file", b"inside")
        + member(b"caf\xe9", b"latin-1")
    )
    (setting.directory / "bad.tar").write_bytes(content + END)
    setting.write(BAD.format(source='tar = "bad.tar"\nsize = "16MiB"'))
    done = setting.cli("apply", "--target", "image.bad", cwd=setting.directory)
    assert done.returncode == 0, done.stderr
    (path,) = (setting.store / "images" / "bad").rglob("rootfs.ext4")
    disk = Disk(path)
    disk.assert_clean()
    assert disk.stat("/late").mode == "0700"
    assert [disk.text(name) for name in ("/late/file", "/twice", "/abs/file")] == ["x", "two", "inside"]
    listed = subprocess.run([need("debugfs"), "-R", "ls -p /", str(path)], check=True, capture_output=True)
    assert b"/caf\xe9/" in listed.stdout


# what is patched in


def test_a_guest_path_through_a_file_is_refused(setting: Setting) -> None:
    setting.assert_refused(
        '[vm.bad]\nimage = "good"\nfile = [{ guest = "/etc/fstab/x", content = "" }]\n', "/etc/fstab"
    )


def test_a_guest_path_that_is_a_directory_is_refused(setting: Setting) -> None:
    setting.assert_refused(
        '[vm.bad]\nimage = "good"\nfile = [{ guest = "/etc/ssh", content = "" }]\n', "'/etc/ssh'"
    )


def test_an_owner_the_guest_does_not_know_is_refused(setting: Setting) -> None:
    file = 'file = [{ guest = "/a", content = "", owner = "nobody-here:root" }]\n'
    setting.assert_refused(
        f'[vm.bad]\nimage = "good"\n{file}', "'nobody-here' is not in the guest's /etc/passwd"
    )


def test_a_host_file_that_may_not_be_read_is_refused(setting: Setting) -> None:
    tree = setting.directory / "tree"
    tree.mkdir()
    (tree / "secret").write_text("secret")
    (tree / "secret").chmod(0o000)
    before = setting.artifacts()
    setting.write('[vm.bad]\nimage = "good"\nfile_sync = [{ host = "tree", guest = "/srv" }]\n')
    done = run_bangerbuild("apply", cwd=setting.directory)
    setting.assert_plain(done, "'tree/secret' can't be read: permission denied", 1)
    assert setting.artifacts() == before


def test_a_socket_named_as_a_host_file_is_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(setting.directory)  # a socket's address is short
    before = setting.artifacts()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        setting.write('[vm.bad]\nimage = "good"\nfile_sync = [{ host = "socket", guest = "/srv/s" }]\n')
        done = setting.cli("apply", cwd=setting.directory)
    assert done.returncode in {1, 3}
    setting.assert_plain(done, "socket", done.returncode)
    assert setting.artifacts() == before


def sync_error(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]
) -> SourceError:
    """The error of a patch during whose copying something happens to the host's files."""
    sync = patching.sync

    def interrupted(
        disk: Filesystem, entries: Iterator[PlacedEntry], before: dict[str, str], *, spare_same: bool = False
    ) -> dict[str, str]:
        change()
        return sync(disk, entries, before, spare_same=spare_same)

    monkeypatch.setattr(patching, "sync", interrupted)
    setting.write('[vm.bad]\nimage = "good"\nfile_sync = [{ host = "tree", guest = "/srv" }]\n')
    before = setting.artifacts()
    result = Project(setting.directory).apply()["vm.bad.root.patch"]
    assert result.outcome is Outcome.FAILED
    assert isinstance(result.error, SourceError)
    assert setting.artifacts() == before
    return result.error


def test_a_host_file_that_vanishes_while_it_is_read_is_refused(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = setting.directory / "tree" / "file"
    file.parent.mkdir()
    file.write_text("text")
    error = sync_error(setting, monkeypatch, file.unlink)
    assert "tree" in error.brief


def test_a_host_file_that_changes_while_it_is_read_is_refused(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = setting.directory / "tree" / "file"
    file.parent.mkdir()
    file.write_text("text")
    error = sync_error(setting, monkeypatch, lambda: file.write_text("other"))
    assert error.brief == "'tree/file' changed while it was read"


# the store


def test_a_store_that_cannot_be_written_is_one_plain_message(setting: Setting) -> None:
    before = setting.artifacts()
    setting.write('[vm.more]\nimage = "good"\n')
    setting.store.chmod(0o555)
    (setting.store / ".staging").chmod(0o555)
    done = run_bangerbuild("apply", cwd=setting.directory)
    for path in (setting.store, setting.store / ".staging"):
        path.chmod(0o700)
    setting.assert_plain(done, "error: ", 1)
    assert "permission denied" in done.stderr or "readonly" in done.stderr
    assert setting.artifacts() == before


def test_a_store_that_cannot_be_made_is_one_plain_message(setting: Setting) -> None:
    shutil.rmtree(setting.store)
    setting.directory.chmod(0o555)
    done = run_bangerbuild("apply", cwd=setting.directory)
    setting.directory.chmod(0o755)
    setting.assert_plain(done, f"error: '{setting.store}': permission denied", 1)
    assert "--store DIR" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small filesystem")
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run([need("mount"), "-t", "tmpfs", "-o", "size=3m", "none", mount], check=False)
    if done.returncode:
        pytest.skip("this root may not mount")
    yield mount
    subprocess.run([need("umount", "mount"), mount], check=True)


@pytest.fixture
def read_only(setting: Setting) -> Iterator[Setting]:
    """The same in a place that nobody can write."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    mount, top = need("mount"), setting.directory
    if subprocess.run([mount, "--bind", top, top], check=False).returncode:
        pytest.skip("this root may not mount")
    subprocess.run([mount, "-o", "remount,bind,ro", top], check=True)
    yield setting
    subprocess.run([need("umount", "mount"), top], check=True)


@pytest.mark.root
def test_a_store_that_nobody_can_write_is_looked_at_and_verified(read_only: Setting) -> None:
    before = read_only.artifacts()
    for command, said in (
        (("plan",), "Nothing to do"),
        (("status",), "current"),
        (("gc", "-n"), "Nothing to remove."),
        (("verify",), "artifacts: "),
    ):
        done = read_only.cli(*command, cwd=read_only.directory)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert said in done.stdout
    done = read_only.cli("verify", "--rebuild", cwd=read_only.directory)
    read_only.assert_plain(done, "can't be written: no image can be made again in it", 1)
    assert read_only.artifacts() == before


@pytest.mark.root
def test_a_store_without_room_for_its_memory_is_no_damaged_one(setting: Setting, small_disk: Path) -> None:
    (setting.directory / "vm.toml").write_text(f'[store]\npath = "small"\n{GOOD}')
    done = setting.cli("apply", cwd=setting.directory)
    assert done.returncode == 0, done.stderr
    setting = Setting(setting.directory, setting.cli)
    (setting.directory / "vm.toml").write_text(f'[store]\npath = "small"\n{GOOD}[vm.more]\nimage = "good"\n')
    free = os.statvfs(small_disk).f_bavail * 4096
    (small_disk / "filler").write_bytes(bytes(free))
    done = setting.cli("apply", cwd=setting.directory)
    setting.assert_plain(done, "no space left on device", 1)
    assert "free some space" in done.stderr
    assert "backup" not in done.stderr


def enlarge(small_disk: Path) -> None:
    subprocess.run([need("mount"), "-o", "remount,size=300m", small_disk], check=True)


@pytest.mark.root
def test_an_image_that_does_not_fit_on_a_full_disk_is_one_plain_message_and_leaves_nothing(
    setting: Setting, small_disk: Path
) -> None:
    write_tar(setting.directory / "bad.tar", {**DEBIAN, "big": os.urandom(8 * MIB)})
    text = f'[store]\npath = "small"\n{GOOD.replace("good.tar", "bad.tar")}'
    (setting.directory / "vm.toml").write_text(text)
    done = setting.cli("apply", cwd=setting.directory)
    setting.assert_plain(done, "o space left on device", 1)
    assert [path for path in small_disk.rglob("*") if path.suffix in {".ext4", ".cow"}] == []
    enlarge(small_disk)
    done = setting.cli("apply", cwd=setting.directory)
    assert done.returncode == 0, done.stderr


@pytest.mark.root
@pytest.mark.parametrize("left_bytes", [0, 4096, 65536, 131072])
def test_an_update_on_a_full_disk_is_one_plain_message_and_leaves_all_as_it_was(
    setting: Setting, small_disk: Path, left_bytes: int
) -> None:
    text = f'[store]\npath = "small"\n{GOOD}'
    (setting.directory / "vm.toml").write_text(text)
    done = setting.cli("apply", cwd=setting.directory)
    assert done.returncode == 0, done.stderr
    setting = Setting(setting.directory, setting.cli)
    built = {path: clone.digest(path) for path in small_disk.rglob("*") if path.suffix in {".ext4", ".cow"}}
    free = os.statvfs(small_disk).f_bavail * 4096
    (small_disk / "filler").write_bytes(bytes(max(0, free - left_bytes)))
    content = "x" * 300_000
    (setting.directory / "vm.toml").write_text(
        f'{text}file = [{{ guest = "/big", content = "{content}" }}]\n'
    )
    done = setting.cli("apply", cwd=setting.directory)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, done.stderr
    assert "space" in done.stderr or "full" in done.stderr or "room" in done.stderr
    assert {path: clone.digest(path) for path in built} == built
    (small_disk / "filler").unlink()
    done = setting.cli("apply", cwd=setting.directory)
    assert done.returncode == 0, done.stderr
    (base,) = (path for path in built if path.suffix == ".ext4")
    guest = Disk(merge(base, small_disk / "vms" / "good" / "root.cow", setting.directory / "merged.ext4"))
    guest.assert_clean()
    assert guest.text("/big") == content


WITHOUT_MKE2FS = """
from bangerbuild import cli
from bangerbuild.host import process

process.SEARCH_PATH = "/nowhere"
raise SystemExit(cli.run())
"""


def test_without_mke2fs_the_message_names_the_package(setting: Setting) -> None:
    before = setting.artifacts()
    (setting.directory / "tree").mkdir()
    setting.write(BAD.format(source='directory = "tree"'))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MKE2FS, "apply"],
        cwd=setting.directory,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    setting.assert_plain(done, "error: 'mke2fs' is not installed", 1)
    assert "apt install e2fsprogs" in done.stderr
    assert setting.artifacts() == before


def test_a_damaged_record_of_the_store_is_one_plain_message(setting: Setting) -> None:
    before = setting.artifacts()
    (setting.store / "state.db").write_bytes(os.urandom(8192))
    for command in ("plan", "apply"):
        done = setting.cli(command, cwd=setting.directory)
        setting.assert_plain(done, "state.db: file is not a database", 1)
    assert setting.artifacts() == before


def test_what_is_good_is_built_beside_what_is_bad(setting: Setting) -> None:
    (setting.directory / "bad.tar").write_bytes(b"garbage" * 1000)
    setting.write(BAD.format(source='tar = "bad.tar"') + '[vm.more]\nimage = "good"\n')
    done = setting.cli("apply", "--keep-going", cwd=setting.directory)
    setting.assert_plain(done, "'bad.tar' is no tarball", 1)
    assert (setting.store / "vms" / "more" / "root.cow").exists()
    assert not (setting.store / "vms" / "bad" / "root.cow").exists()
    assert Path(setting.store / "images" / "bad").exists() is False
