"""The lock file as text, and what is wrong with one that can't be used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import BusyError, LockFileError
from bangerbuild.model import HostPath, Pin
from bangerbuild.model.image_cache import LockedImage
from bangerbuild.resolving import lockfile
from bangerbuild.resolving.lockfile import LockEntry, LockFile
from bangerbuild.sources.boot_file import HostBootFile
from bangerbuild.sources.boot_guest import GuestBootFile
from bangerbuild.sources.directory import DirectorySource
from bangerbuild.sources.ext4 import Ext4Source
from bangerbuild.sources.mmdebstrap import MmdebstrapSource
from bangerbuild.sources.oci_archive import OciArchiveSource
from bangerbuild.sources.oci_layout import OciLayoutSource
from bangerbuild.sources.oci_registry import OciRegistrySource
from bangerbuild.sources.other_image import OtherImage
from bangerbuild.sources.tar import TarSource
from bangerbuild.sources.url import UrlBootFile, UrlSource

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.sources.source import BootSource, ImageSource

A, B = "a" * 64, "b" * 64
URL = {"url": "https://example.org/x.tar"}
PACKAGES: dict[str, str | list[str]] = {"mmdebstrap": "bookworm", "packages": ["ssh", "vim"]}
LOCK = LockFile(
    {
        "image.b.kernel": LockEntry.of({"url": "https://example.org/vmlinuz"}, Pin(B)),
        "image.b.rootfs": LockEntry.of({"oci": "docker://debian:12"}, Pin(A, platform="linux/amd64")),
        "image.a.rootfs": LockEntry.of(PACKAGES, Pin(A, versions=B)),
    }
)
TEXT = f"""\
# What the manifest's sources stand for. Made by bangerbuild; keep it in git.
version = 1

[image.a.rootfs]
mmdebstrap = "bookworm"
packages = [
    "ssh",
    "vim",
]
sha256 = "{A}"
versions = "{B}"

[image.b.kernel]
url = "https://example.org/vmlinuz"
sha256 = "{B}"

[image.b.rootfs]
oci = "docker://debian:12"
sha256 = "{A}"
platform = "linux/amd64"
"""
CONFLICT = f"""\
version = 1

[image.a.rootfs]
<<<<<<< HEAD
sha256 = "{A}"
=======
sha256 = "{B}"
>>>>>>> other
"""
HEAD = "version = 1\n"


def host(name: str) -> HostPath:
    from pathlib import Path  # noqa: PLC0415  # nothing else here touches the disk

    return HostPath(Path("/srv") / name, name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bangerbuild.lock"


def error(path: Path, text: str | bytes) -> LockFileError:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LockFileError) as caught:
        lockfile.read(path)
    assert caught.value.exit_code == 3
    return caught.value


def test_it_is_sorted_toml_with_a_table_for_each_place() -> None:
    assert LOCK.text() == TEXT


def test_what_is_written_is_read_again(path: Path) -> None:
    lockfile.write(path, LockFile(), LOCK)
    assert lockfile.read(path) == LOCK
    assert path.read_text() == TEXT


def test_where_there_is_none_nothing_is_locked(path: Path) -> None:
    assert lockfile.read(path) == LockFile()


def test_nothing_but_the_file_itself_is_left_behind(path: Path) -> None:
    lockfile.write(path, LockFile(), LOCK)
    lockfile.write(path, LOCK, LockFile())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_a_killed_writer_left_is_in_nobodys_way(path: Path) -> None:
    path.with_name(".bangerbuild.lock.new").write_text("half")
    lockfile.write(path, LockFile(), LOCK)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_one_has_the_mode_that_the_umask_gives(path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        lockfile.write(path, LockFile(), LOCK)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_one_that_is_there_keeps_its_mode_and_a_symlink_to_it_stays(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_text(TEXT)
    (tmp_path / "real").chmod(0o664)
    path.symlink_to("real")
    lockfile.write(path, LOCK, LockFile())
    assert path.is_symlink()
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o664
    assert lockfile.read(path) == LockFile()


def test_an_entry_that_somebody_else_has_changed_since_is_left_alone(path: Path) -> None:
    path.write_text(TEXT)
    ours = LockFile({"image.b.kernel": LockEntry.of(URL, Pin(A))})
    with pytest.raises(BusyError, match="was changed by someone else since it was read") as caught:
        lockfile.write(path, LockFile(), ours)
    assert caught.value.hint == "run it again"
    assert path.read_text() == TEXT


def test_what_somebody_else_has_added_since_stays(path: Path) -> None:
    path.write_text(TEXT)
    ours = LockEntry.of(URL, Pin(B))
    lockfile.write(path, LockFile(), LockFile({"image.c.rootfs": ours}))
    assert lockfile.read(path).entries == {**LOCK.entries, "image.c.rootfs": ours}


def test_what_somebody_else_has_written_alike_is_fine_and_not_written_again(path: Path) -> None:
    path.write_text(TEXT)
    before = path.stat().st_mtime_ns
    lockfile.write(path, LockFile(), LOCK)
    assert path.stat().st_mtime_ns == before


def test_an_entry_may_be_dropped_that_is_gone_already(path: Path) -> None:
    path.write_text(TEXT)
    stale = LockFile({**LOCK.entries, "image.c.rootfs": LockEntry.of(URL, Pin(B))})
    lockfile.write(path, stale, LOCK)
    assert lockfile.read(path) == LOCK


def test_a_directory_that_is_gone_is_one_plain_error(tmp_path: Path) -> None:
    with pytest.raises(LockFileError, match="can't be written: no such file or directory"):
        lockfile.write(tmp_path / "gone/bangerbuild.lock", LockFile(), LOCK)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_told_with_the_way_out(path: Path) -> None:
    path.parent.chmod(0o500)
    with pytest.raises(LockFileError, match="permission denied") as caught:
        lockfile.write(path, LockFile(), LOCK)
    assert caught.value.hint == f"give sha256 in the manifest, or make '{path.parent}' writable"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (CONFLICT, "line 4: not valid TOML: invalid statement at column 1"),
        (b"version = 1 # \xfc", "line 1: not UTF-8: byte 0xfc on this line"),
        ("a = " + "[" * 10_000, "not TOML that can be read: it is nested too deeply"),
        ("version = " + "9" * 5000, "not TOML that can be read: a number has too many digits"),
        ("version = 0x" + "9" * 5000, "not TOML that can be read: an integer has more than 64 bits"),
        ("a" + ".a" * 100_000 + " = 1", "line 1: not TOML that can be read: a key has more than 100 parts"),
        ("", "it states no version, and this program reads version 1"),
        ("version = 2", "it is of version '2', and this program reads version 1"),
        (HEAD + "image = 1", "'image' is no table"),
        (HEAD + "image.a = 1", "'image.a' is no table"),
        (HEAD + "image.a.rootfs = 1", "'image.a.rootfs' is no table"),
        (HEAD + f'image.a.disk.sha256 = "{A}"', "'image.a.disk' is no place in a manifest"),
        (HEAD + f'vm.a.rootfs.sha256 = "{A}"', "'vm.a.rootfs' is no place in a manifest"),
        (HEAD + f'image."../a".rootfs.sha256 = "{A}"', "'image.../a.rootfs' is no place in a manifest"),
        (HEAD + 'image.a.rootfs.url = "x"', "'image.a.rootfs' has no sha256"),
        (HEAD + 'image.a.rootfs.sha256 = "ab"', "'image.a.rootfs.sha256' is no SHA-256 digest"),
        (HEAD + f'image.a.rootfs.sha256 = ["{A}"]', "'image.a.rootfs.sha256' is no text"),
        (HEAD + "image.a.rootfs.url = 5", "'image.a.rootfs.url' is no text"),
        (HEAD + "image.a.rootfs.packages = [5]", "'image.a.rootfs.packages' is no text"),
        (
            HEAD + f'image.a.rootfs = {{ sha256 = "{A}", versions = "x" }}',
            "'image.a.rootfs.versions' is no SHA-256 digest",
        ),
    ],
)
def test_one_that_is_not_what_we_write_is_refused_with_the_way_out(
    path: Path, text: str | bytes, why: str
) -> None:
    found = error(path, text)
    assert found.brief == f"the lock file '{path}' can't be used: {why}"
    assert str(found.hint).startswith("settle it if git left it in conflict, or take the last good one")


@pytest.mark.parametrize(
    "text",
    [
        'network.lan.a = "10.0.0.2"',
        'network = { lan = { a = "10.0.0.2" } }',
        '[network]\nlan.a = "10.0.0.2"',
        '[network."lan"]\na = "10.0.0.2"',
    ],
)
def test_a_lease_that_is_written_otherwise_is_told_with_its_line(path: Path, text: str) -> None:
    found = error(path, HEAD + text)
    line = len((HEAD + text).splitlines())
    why = f"line {line}: a lease is one line below the header of its table"
    assert found.brief == f"the lock file '{path}' can't be used: {why}"
    assert found.hint == 'write a = "…" below [network.lan]'


def test_a_directory_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(LockFileError, match="is a directory"):
        lockfile.read(path)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (UrlSource("https://x/y", Pin(A)), {"url": "https://x/y"}),
        (UrlBootFile("https://x/y"), {"url": "https://x/y"}),
        (OciRegistrySource(reference="docker://debian"), {"oci": "docker://debian"}),
        (
            OciRegistrySource(reference="docker://debian", platform="linux/arm64"),
            {"oci": "docker://debian", "platform": "linux/arm64"},
        ),
        (OciLayoutSource(reference="oci:layout:v1", layout=host("layout")), {"oci": "oci:layout:v1"}),
        (
            OciArchiveSource(host("x.tar"), "oci-archive", "v1", "linux/amd64"),
            {"oci": "oci-archive:x.tar:v1"},
        ),
        (MmdebstrapSource("bookworm"), {"mmdebstrap": "bookworm"}),
        (
            MmdebstrapSource("sid", ("ssh",), "http://m", ("--a",)),
            {"mmdebstrap": "sid", "packages": ["ssh"], "arguments": ["--a"], "mirror": "http://m"},
        ),
        (TarSource(host("root.tar")), {"tar": "root.tar"}),
        (Ext4Source(host("disk.ext4"), 1 << 30), {"ext4": "disk.ext4"}),
        (HostBootFile(host("vmlinuz")), {"path": "vmlinuz"}),
        (DirectorySource(host("tree")), None),
        (OtherImage("a"), None),
        (GuestBootFile("/boot/vmlinuz-*"), None),
    ],
)
def test_an_entry_begins_with_what_the_manifest_asks_for(
    source: ImageSource | BootSource, words: dict[str, str] | None
) -> None:
    assert source.lock_words == words


def test_an_entry_gives_its_pin_back() -> None:
    pin = Pin(A, "linux/amd64", B)
    assert LockEntry.of(URL, pin).pin == pin
    assert LockEntry.of(URL, Pin(A)).pin == Pin(A)


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ({"oci": "docker://x"}, True),
        ({"oci": "docker://x", "platform": "linux/amd64"}, True),
        ({"oci": "docker://x", "platform": "linux/arm64"}, False),
        ({"oci": "docker://y"}, False),
        ({"url": "docker://x"}, False),
    ],
)
def test_an_entry_answers_for_its_tag_and_platform_alone(asked: dict[str, str], answers: bool) -> None:  # noqa: FBT001  a row of the table
    assert LockEntry.of({"oci": "docker://x"}, Pin(A, "linux/amd64")).answers(asked) is answers


def test_an_entry_with_more_packages_or_fewer_answers_for_others() -> None:
    entry = LockEntry.of({"mmdebstrap": "sid", "packages": ["ssh"]}, Pin(A))
    assert entry.answers({"mmdebstrap": "sid", "packages": ["ssh"]})
    assert not entry.answers({"mmdebstrap": "sid", "packages": ["ssh", "vim"]})
    assert not entry.answers({"mmdebstrap": "sid"})


def test_an_entry_of_another_place_holds_for_the_same_words_but_its_own_comes_first() -> None:
    own, other = LockEntry.of(URL, Pin(A)), LockEntry.of(URL, Pin(B))
    lock = LockFile({"image.a.rootfs": other, "image.b.rootfs": own})
    assert lock.find("image.b.rootfs", URL) == own
    assert lock.find("image.c.rootfs", URL) == other
    assert lock.find("image.c.rootfs", {"url": "https://other"}) is None


def test_an_entry_out_of_a_record_is_one_that_could_be_written() -> None:
    assert lockfile.remembered({**URL, "sha256": A}) == LockEntry({**URL, "sha256": A})
    others: tuple[object, ...] = (None, [], {}, URL, {**URL, "sha256": "../x"}, {**URL, "sha256": 1}, {1: A})
    for words in others:
        assert lockfile.remembered(words) is None


PUSHED = LockFile(
    pushed={
        ("b", "1" * 32): LockedImage("rootfs", A, "2" * 32, {"libext2fs": "1.47.0", "e2fsprogs": "1.47.0"}),
        ("a", "3" * 32): LockedImage("kernel", B, "4" * 32, {}),
    }
)
PUSHED_TEXT = f"""\
# What the manifest's sources stand for. Made by bangerbuild; keep it in git.
version = 1

[cache.a.{"3" * 32}]
part = "kernel"
sha256 = "{B}"
recipe = "{"4" * 32}"

[cache.a.{"3" * 32}.tools]

[cache.b.{"1" * 32}]
part = "rootfs"
sha256 = "{A}"
recipe = "{"2" * 32}"

[cache.b.{"1" * 32}.tools]
e2fsprogs = "1.47.0"
libext2fs = "1.47.0"
"""


def test_what_was_pushed_stands_in_it_by_image_and_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "bangerbuild.lock"
    lockfile.write(path, LockFile(), PUSHED)
    assert path.read_text() == PUSHED_TEXT
    assert lockfile.read(path) == PUSHED
    assert PUSHED.built()["a"].keys() == {"3" * 32}


def test_two_who_push_at_once_both_have_their_entries(tmp_path: Path) -> None:
    path = tmp_path / "bangerbuild.lock"
    first, second = ({key: one} for key, one in PUSHED.pushed.items())
    lockfile.write(path, LockFile(), LockFile(pushed=first))
    lockfile.write(path, LockFile(), LockFile(pushed=second))
    lockfile.write(path, LockFile(), LockFile(pushed=second))
    assert lockfile.read(path) == PUSHED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f'sha256 = "{B}"', 'sha256 = "1"'),
        (f'sha256 = "{B}"', ""),
        ('part = "kernel"', "part = 1"),
        (f'recipe = "{"4" * 32}"', ""),
        (f"[cache.a.{'3' * 32}]", "[cache.a.abc]"),
        (f"[cache.a.{'3' * 32}]", f'[cache."A/..".{"3" * 32}]'),
        ('e2fsprogs = "1.47.0"', "e2fsprogs = 1.47"),
        ("version = 1\n", "version = 1\ncache = 1\n"),
    ],
)
def test_an_entry_that_no_push_writes_makes_it_unusable(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "bangerbuild.lock"
    assert old in PUSHED_TEXT
    path.write_text(PUSHED_TEXT.replace(old, new, 1))
    with pytest.raises(LockFileError, match="can't be used"):
        lockfile.read(path)
