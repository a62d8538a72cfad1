from __future__ import annotations

import errno
import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.disk import clone, in_use
from bangerbuild.epoch import Epoch
from bangerbuild.errors import SourceError, StoreError, ToolError
from bangerbuild.formats import digest
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.host import process
from bangerbuild.host.process import Completed
from bangerbuild.model import Source
from bangerbuild.planning import host
from bangerbuild.planning.host import LocalHost
from tests.need import need
from tests.stores import held

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.host.process import Command

EPOCH = Epoch()
OLD_NS = 1_600_000_000_000_000_000


@pytest.fixture
def here(tmp_path: Path) -> LocalHost:
    return LocalHost(store.read(tmp_path / "store"), EPOCH)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is old enough for its time stamp to be trusted."""
    monkeypatch.setattr(digest, "is_settled", lambda _found: True)


def file_source(path: Path) -> Source:
    return Source("rootfs.tar", path, path.name)


def tree_source(path: Path) -> Source:
    return Source("file_sync[/etc]", path, path.name, TreeRules(xattrs=False))


def test_the_digest_of_a_file_is_the_sha256_of_its_content(here: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    said = subprocess.run(
        [need("sha256sum", "coreutils"), tmp_path / "a"], capture_output=True, check=True
    ).stdout
    assert here.digest(file_source(tmp_path / "a")) == said.split()[0].decode()


def test_the_digest_of_a_file_does_not_depend_on_its_mode_but_that_of_a_tree_does(
    here: LocalHost, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    path = tmp_path / "tree" / "a"
    path.write_text("content")
    path.chmod(0o600)
    before = here.digest(file_source(path)), here.digest(tree_source(path.parent))
    path.chmod(0o644)
    after = here.digest(file_source(path)), here.digest(tree_source(path.parent))
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_file_that_is_not_there_is_named_as_the_manifest_names_it(here: LocalHost, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^'root\.tar' is not there$"):
        here.digest(file_source(tmp_path / "root.tar"))


def test_a_digest_is_remembered_in_the_store_and_not_read_again(settled: None, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    os.utime(path, ns=(OLD_NS, OLD_NS))
    with store.writing(tmp_path / "store", timeout_seconds=0) as opened:
        first = LocalHost(opened, EPOCH).digest(file_source(path))
    reopened = store.read(tmp_path / "store")
    found = path.stat()
    key, stamp = host._key_and_stamp(found)
    assert reopened.get(key, stamp) == first
    reopened.put(key, stamp, "what the store remembers")
    assert LocalHost(reopened, EPOCH).digest(file_source(path)) == "what the store remembers"


def disk_source(path: Path, parts_from_bytes: int | None) -> Source:
    return Source("rootfs.ext4", path, path.name, parts_from_bytes=parts_from_bytes)


def test_a_large_disk_has_the_digest_of_its_parts_and_a_smaller_one_its_sha256(
    here: LocalHost, tmp_path: Path
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"data" * 1024)
    os.truncate(path, 1 << 20)
    assert here.digest(disk_source(path, 1 << 20)) == clone.digest(path)
    assert here.digest(disk_source(path, (1 << 20) + 1)) == here.digest(file_source(path))


def test_holes_and_zeros_give_a_disk_the_same_digest(here: LocalHost, tmp_path: Path) -> None:
    data, zeros = b"data" * 4096, bytes(40 << 20)
    (tmp_path / "dense").write_bytes(data + zeros + data)
    with (tmp_path / "sparse").open("wb") as file:
        os.pwrite(file.fileno(), data, 0)
        os.pwrite(file.fileno(), data, len(data) + len(zeros))
    digests = {here.digest(disk_source(tmp_path / name, 0)) for name in ("dense", "sparse")}
    os.truncate(tmp_path / "sparse", len(zeros))
    assert len(digests) == 1
    assert here.digest(disk_source(tmp_path / "sparse", 0)) not in digests


def test_both_digests_of_a_disk_are_remembered_beside_each_other(settled: None, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"data" * 1024)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    opened = store.read(tmp_path / "store")
    digests = {LocalHost(opened, EPOCH).digest(disk_source(path, kind)) for kind in (0, None)}
    before = path.stat()
    path.write_bytes(b"else" * 1024)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    key, stamp = host._key_and_stamp(path.stat())
    for kind in ("", ":parts"):
        opened.put(key + kind, stamp, f"known{kind}")
    assert before.st_ino == path.stat().st_ino
    assert len(digests) == 2
    assert LocalHost(opened, EPOCH).digest(disk_source(path, 0)) == "known:parts"
    assert LocalHost(opened, EPOCH).digest(disk_source(path, None)) == "known"


def test_a_disk_that_changes_while_it_is_read_is_refused(
    here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"data" * 1024)

    def digest_and_write(read: Path) -> str:
        os.truncate(read, 1)
        return "0" * 64

    monkeypatch.setattr(clone, "digest", digest_and_write)
    with pytest.raises(SourceError, match=r"^'disk' changed while it was read$"):
        here.digest(disk_source(path, 0))


@pytest.mark.parametrize("parts_from_bytes", [0, 1])
def test_what_is_no_file_is_no_disk(here: LocalHost, tmp_path: Path, parts_from_bytes: int) -> None:
    os.mkfifo(tmp_path / "disk")
    with pytest.raises(SourceError, match="is no regular file"):
        here.digest(disk_source(tmp_path / "disk", parts_from_bytes))


def test_a_file_that_was_written_to_is_read_again(settled: None, here: LocalHost, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    first = here.digest(file_source(path))
    path.write_text("two")
    assert here.digest(file_source(path)) != first


def test_a_file_with_another_ones_size_and_time_is_told_apart(
    settled: None, here: LocalHost, tmp_path: Path
) -> None:
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(OLD_NS, OLD_NS))
        digests.add(here.digest(file_source(tmp_path / name)))
    assert len(digests) == 2


def test_the_time_we_give_to_what_we_make_counts_as_a_tools_version(here: LocalHost) -> None:
    assert here.version("SOURCE_DATE_EPOCH") == "946684800"


def test_the_version_of_e2fsprogs_is_the_one_it_prints(here: LocalHost) -> None:
    printed = subprocess.run(
        [need("mke2fs", "e2fsprogs"), "-V"], capture_output=True, text=True, check=True
    ).stderr
    assert f"mke2fs {here.version('e2fsprogs')} (" in printed


def test_the_library_has_a_version_too(here: LocalHost) -> None:
    assert re.match(r"1\.\d+", here.version("libext2fs"))


def test_a_version_is_asked_for_once(here: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Command] = []

    def run(command: Command) -> Completed:
        asked.append(command)
        return Completed(0, "mke2fs 1.99.9 (1-Jan-2030)\n\tUsing EXT2FS Library version 1.99.9\n")

    monkeypatch.setattr(process, "run", run)
    assert [here.version("e2fsprogs") for _ in range(3)] == ["1.99.9"] * 3
    assert len(asked) == 1


def test_a_tool_that_does_not_say_its_version_is_an_error(
    here: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "run", lambda _: Completed(0, "no idea\n"))
    with pytest.raises(ToolError, match="mke2fs does not say its version: 'no idea'"):
        here.version("e2fsprogs")


def test_a_missing_tool_is_an_error_that_names_the_package(
    here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        here.version("e2fsprogs")
    assert (caught.value.brief, caught.value.hint) == ("'mke2fs' is not installed", "apt install e2fsprogs")


@dataclass
class Refusal:
    """Stands for the operating system saying no."""

    asked: list[Path] = field(default_factory=list)

    def __call__(self, path: Path, _patience: float) -> str | None:
        self.asked.append(path)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_disk_that_may_not_be_opened_is_one_plain_error(
    here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_use, "holder", Refusal())
    with pytest.raises(StoreError, match=r"root\.cow': permission denied"):
        here.holder(tmp_path / "root.cow")


def test_a_disk_that_nobody_holds_has_no_holder(here: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "root.cow").touch()
    assert here.holder(tmp_path / "root.cow") is None


class Clock:
    """Time that passes only where somebody waits."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_all_who_only_read_are_waited_for_so_long_together(
    here: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(host, "time", clock)
    monkeypatch.setattr(in_use, "time", clock)
    disks = [tmp_path / f"{number}.cow" for number in range(8)]
    for disk in disks:
        disk.write_text("")
    with held("rb", *disks) as program:
        assert all("python" in str(here.holder(disk)) for disk in disks)
        program.communicate()
    assert clock.now <= host.PATIENCE_SECONDS + in_use.POLL_SECONDS
    assert here.holder(disks[0]) is None


@pytest.mark.parametrize("exclude", [(), ("*.pyc",), ("store/images",)])
def test_a_tree_that_holds_the_store_is_refused_with_the_way_out(
    here: LocalHost, tmp_path: Path, exclude: tuple[str, ...]
) -> None:
    source = Source("file_sync[/srv]", tmp_path, ".", TreeRules(exclude=exclude))
    with pytest.raises(SourceError, match=r"'\.' holds the store, 'store'") as caught:
        here.digest(source)
    assert caught.value.hint is not None
    assert '`exclude = ["/store"]`' in caught.value.hint


@pytest.mark.parametrize("exclude", [("/store",), ("store/",), ("st*",)])
def test_a_tree_that_leaves_the_store_out_is_read(
    here: LocalHost, tmp_path: Path, exclude: tuple[str, ...]
) -> None:
    (tmp_path / "a").write_text("a")
    assert here.digest(Source("file_sync[/srv]", tmp_path, ".", TreeRules(exclude=exclude)))
