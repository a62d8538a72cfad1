"""The mtimes of files in guests, as debugfs and Python's own cache of bytecode see them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.epoch import DEFAULT_SECONDS, NANOSECONDS, Epoch
from bangerbuild.model import Verb
from tests.disk.ext4_tools import debugfs, make_ext4
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Disk, Project

HEAD = '[image.debian]\nrootfs.tar = "root.tar"\n'
WEB = f'{HEAD}[vm.web]\nimage = "debian"\nwork = false\n'
SECONDS = 1_600_000_000
DATED_NS = SECONDS * NANOSECONDS + 123_456_789


def sync(keys: str = "", owner: str = "vm.web") -> str:
    return f'[[{owner}.file_sync]]\nhost = "site"\nguest = "/srv/site"\n{keys}\n'


FIXED, HOST = sync('times = "fixed"'), sync()
INLINE = '[[vm.web.file]]\nguest = "/srv/site/shop.py"\ncontent = "price = 10\\n"\n'


@pytest.fixture
def site(debian: Project) -> Path:
    """A host tree, everything in it of one time."""
    top = debian.directory / "site"
    (top / "sub").mkdir(parents=True)
    (top / "shop.py").write_text("price = 10\n")
    (top / "sub" / "other").write_text("other\n")
    (top / "link").symlink_to("shop.py")
    date(top)
    return top


def date(top: Path, mtime_ns: int = DATED_NS) -> None:
    for path in (top, *top.rglob("*")):
        os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def edit(path: Path, content: str) -> None:
    """Write a file so that its time stays."""
    mtime_ns = path.stat().st_mtime_ns
    path.write_text(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def mtime_ns(disk: Disk, path: str) -> int:
    """As debugfs has it: seconds, and the nanoseconds above two bits of the extra field."""
    said = debugfs(disk.path, f'stat "{path}"').decode()
    found = re.search(r"mtime: 0x([0-9a-f]+):([0-9a-f]+)", said)
    assert found is not None, said
    return int(found[1], 16) * NANOSECONDS + (int(found[2], 16) >> 2)


def built(debian: Project, text: str) -> Disk:
    debian.write(text)
    debian.build()
    disk = debian.guest()
    disk.assert_clean()
    return disk


def live(debian: Project) -> None:
    """The root is a guest's from now on."""
    with debian.as_guest() as disk:
        disk.write_file("/var/data", b"a guest's")


# what compares for equality


@pytest.mark.parametrize("text", [WEB + FIXED, WEB + INLINE])
@pytest.mark.parametrize("is_lived", [False, True])
def test_python_runs_the_new_source_after_an_edit_of_the_same_length(
    debian: Project, site: Path, text: str, *, is_lived: bool
) -> None:
    there = debian.directory / "there"
    there.mkdir()

    def price() -> str:
        dump = f"dump -p /srv/site/shop.py {there}/shop.py"
        subprocess.run([need("debugfs"), "-R", dump, debian.guest().path], check=True, capture_output=True)
        command = [sys.executable, "-c", "import shop; print(shop.price)"]
        done = subprocess.run(
            command, env={"PYTHONPATH": str(there)}, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    built(debian, text)
    assert price() == "10"
    assert list((there / "__pycache__").iterdir()), "the bytecode is kept"
    if is_lived:
        live(debian)
    edit(site / "shop.py", "price = 99\n")
    built(debian, text.replace("price = 10", "price = 99"))
    assert price() == "99"


def test_fixed_times_are_told_from_the_content_alone(debian: Project, site: Path) -> None:
    disk = built(debian, WEB + FIXED + '[[vm.web.file]]\nguest = "/etc/a"\ncontent = "price = 10\\n"\n')
    expected = Epoch().of_bytes(b"price = 10\n")
    assert expected > DEFAULT_SECONDS * NANOSECONDS
    assert {mtime_ns(disk, path) for path in ("/srv/site/shop.py", "/etc/a")} == {expected}
    assert mtime_ns(disk, "/srv/site/link") == Epoch().of_bytes(b"shop.py")
    assert mtime_ns(disk, "/etc/hostname") == Epoch().of_bytes(b"web\n")
    for directory in ("/srv", "/srv/site", "/srv/site/sub"):
        assert mtime_ns(disk, directory) == DEFAULT_SECONDS * NANOSECONDS


def test_vms_made_from_one_template_have_each_their_own_times(debian: Project) -> None:
    debian.write(HEAD + "".join(f'[vm.{name}]\nimage = "debian"\nwork = false\n' for name in "abc"))
    debian.build()
    for name in "abc":
        disk = debian.guest(name)
        disk.assert_clean()
        assert mtime_ns(disk, "/etc/hostname") == Epoch().of_bytes(f"{name}\n".encode())


# what compares for order


def test_a_vms_synced_files_have_the_hosts_times_to_the_nanosecond(debian: Project, site: Path) -> None:
    disk = built(debian, WEB + HOST)
    for path in ("shop.py", "sub/other", "link"):
        assert mtime_ns(disk, f"/srv/site/{path}") == DATED_NS
    assert mtime_ns(disk, "/srv/site/sub") == DEFAULT_SECONDS * NANOSECONDS


def test_inodes_of_128_bytes_hold_the_seconds(debian: Project, site: Path) -> None:
    make_ext4(debian.directory / "old.ext4", "-I", "128", size="16M")
    disk = built(debian, (WEB + HOST).replace('tar = "root.tar"', 'ext4 = "old.ext4"'))
    assert disk.stat("/srv/site/shop.py").mtime == SECONDS


@pytest.mark.parametrize("seconds", [-1_000_000_000, 0, 1 << 32, (1 << 33) + 5])
def test_times_before_1970_and_after_2038_are_kept(debian: Project, site: Path, seconds: int) -> None:
    date(site, seconds * NANOSECONDS)
    built(debian, WEB + HOST)
    with debian.as_guest() as disk:
        found = disk.stat("/srv/site/shop.py")
    assert found is not None
    assert found.mtime_ns == (site / "shop.py").stat().st_mtime_ns


def test_an_inline_file_may_have_the_time_of_its_manifest(debian: Project) -> None:
    debian.write(WEB + '[[vm.web.file]]\nguest = "/etc/a"\ncontent = "a"\ntimes = "host"\n')
    os.utime(debian.directory / "vm.toml", ns=(1, DATED_NS))
    debian.build()
    assert mtime_ns(debian.guest(), "/etc/a") == DATED_NS
    os.utime(debian.directory / "vm.toml", ns=(1, DATED_NS + 5))
    assert {action.verb for action in debian.plan().values()} == {Verb.KEEP}


def test_no_time_is_later_than_the_epoch_that_is_set(
    debian: Project, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1500000000")
    disk = built(debian, WEB + HOST + '[[vm.web.file]]\nguest = "/etc/a"\ncontent = "a"\ntimes = "host"\n')
    assert mtime_ns(disk, "/srv/site/shop.py") == mtime_ns(disk, "/etc/a") == 1_500_000_000 * NANOSECONDS
    assert mtime_ns(disk, "/etc/hostname") < 1_500_000_000 * NANOSECONDS
    date(site, 1_400_000_000 * NANOSECONDS)
    debian.build("vm.web.root")
    assert mtime_ns(debian.guest(), "/srv/site/shop.py") == 1_400_000_000 * NANOSECONDS


# a second time


def test_a_file_that_was_only_touched_is_no_change_and_stays_as_it_is(debian: Project, site: Path) -> None:
    built(debian, WEB + HOST)
    live(debian)
    before = debian.guest()
    inode, old = before.inode("/srv/site/shop.py"), mtime_ns(before, "/srv/site/shop.py")
    date(site, DATED_NS + 9 * NANOSECONDS)
    assert {action.verb for action in debian.plan().values()} == {Verb.KEEP}
    (site / "sub" / "other").write_text("OTHER\n")
    date(site, DATED_NS + 9 * NANOSECONDS)
    after = built(debian, WEB + HOST)
    assert (after.inode("/srv/site/shop.py"), mtime_ns(after, "/srv/site/shop.py")) == (inode, old)
    assert mtime_ns(after, "/srv/site/sub/other") == DATED_NS + 9 * NANOSECONDS


def test_other_times_are_set_in_a_guest_and_nothing_is_written_anew(debian: Project, site: Path) -> None:
    inline = '[[vm.web.file]]\nguest = "/etc/a"\ncontent = "a"\n'
    host = inline + 'times = "host"\n'
    before = built(debian, WEB + HOST + inline)
    inodes = {path: before.inode(path) for path in ("/srv/site/shop.py", "/etc/a")}
    live(debian)
    disk = built(debian, WEB + FIXED + host)
    assert mtime_ns(disk, "/srv/site/shop.py") == Epoch().of_bytes(b"price = 10\n")
    assert mtime_ns(disk, "/etc/a") == (debian.directory / "vm.toml").stat().st_mtime_ns
    disk = built(debian, WEB + HOST + inline)
    assert mtime_ns(disk, "/srv/site/shop.py") == DATED_NS
    assert mtime_ns(disk, "/etc/a") == Epoch().of_bytes(b"a")
    assert {path: disk.inode(path) for path in inodes} == inodes


def test_a_time_that_the_guest_has_set_is_no_difference(debian: Project, site: Path) -> None:
    built(debian, WEB + HOST + INLINE.replace("/srv/site/shop.py", "/etc/a"))
    with debian.as_guest() as disk:
        for path in ("/srv/site/shop.py", "/etc/a", "/etc/hostname"):
            disk.set_attributes(path, mtime_ns=5)
    assert {action.verb for action in debian.plan().values()} == {Verb.KEEP}


# images


def test_an_image_does_not_depend_on_the_times_of_its_files_unless_it_shall(
    debian: Project, site: Path
) -> None:
    def image(keys: str) -> bytes:
        debian.write(HEAD + sync(keys, "image.debian"))
        debian.build()
        path = debian.image()
        content = path.read_bytes()
        path.unlink()
        return content

    fixed, host = image(""), image('times = "host"')
    date(site, DATED_NS + NANOSECONDS)
    assert image("") == fixed
    assert image('times = "host"') != host
