"""The same input gives the same bytes, wherever, whenever and by whomever it is built."""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.disk import clone
from tests import PROJECT
from tests.disk.ext4_tools import make_ext4
from tests.formats.oci.making import layout_of, tarball, whiteout
from tests.formats.tarmaking import member
from tests.kernel.making import bzimage, elf, packed
from tests.manifests import KEY
from tests.need import need
from tests.projects import DEBIAN, Project, codes, write_tar
from tests.unprivileged import let_others_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

OTHER_USER = 54_321
E2FSPROGS = ("mke2fs", "e2fsck", "resize2fs")

MANIFEST = f"""\
[image.tar]
rootfs.tar = "root.tar"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0"
work_seed = {{ tar = "seed.tar", size = "24MiB" }}

[image.directory.rootfs]
directory = "tree"
size = "24MiB"

[image.ext4.rootfs]
ext4 = "disk.ext4"
size = "48MiB"

[image.container.rootfs]
oci = "oci:layout"

[image.derived]
rootfs.image = "container"
file = [{{ guest = "/etc/new", content = "new" }}]
file_sync = [{{ host = "tree", guest = "/srv/tree" }}]

[vm.web]
image = "tar"
hostname = "web.example.org"
ssh_authorized_keys = ["{KEY}"]
network = {{ address = "172.16.0.10/24", gateway = "172.16.0.1", dns = ["1.1.1.1"] }}
work.size = "40MiB"
file = [{{ guest = "/srv/new/app.conf", content = "port = 80\\n", mode = "0640", owner = "www-data:33" }}]
file_sync = [
  {{ host = "tree", guest = "/srv/tree", times = "fixed" }},
  {{ host = "dated", guest = "/data/tree" }},
]
mount = [{{ source = "tmpfs", target = "/scratch", fstype = "tmpfs" }}]
disk = [{{ name = "data", size = "24MiB", mount = "/data" }}]

[vm.db]
image = "directory"
root = {{ format = "raw", size = "40MiB" }}
work.size = "16MiB"

[vm.old]
image = "ext4"

[vm.derived]
image = "derived"
"""

SEVERAL_NAMES = {f"usr/share/many/{number:05}{'x' * 200}": b"" for number in range(400)}
"""A directory large enough for an index."""


def furnish(directory: Path, *, reverse: bool = False) -> Path:
    """The same project, its files written in one order or the other."""
    directory.mkdir(parents=True)
    write_tar(directory / "root.tar", {**DEBIAN, **SEVERAL_NAMES}, {"etc/resolv.conf": "/run/resolv.conf"})
    write_tar(directory / "seed.tar", {".profile": "umask 022\n"})
    make_ext4(directory / "disk.ext4", size="32M")
    (directory / "vmlinuz").write_bytes(bzimage(packed(elf(), "gzip")))
    (directory / "initrd.img").write_bytes(gzip.compress(b"070701" + bytes(1000), mtime=0))
    first, second = member(b"etc/passwd", b"root:x:0:0::/root:/bin/sh\n"), member(b"bin/sh", b"shell" * 1000)
    layers = (tarball(first, member(b"gone")), tarball(second, whiteout(b"gone")))
    layout_of(directory / "layout", *layers, compress=partial(gzip.compress, mtime=0))
    tree = directory / "tree"
    tree.mkdir()
    names = [f"file{number}" for number in range(30)]
    for name in reversed(names) if reverse else names:
        (tree / name).write_text(name * 100)
        (tree / name).chmod(0o644)
    (tree / "sub").mkdir()
    (tree / "sub" / "link").symlink_to("../file1")
    for path in (tree, tree / "sub"):
        path.chmod(0o755)
    (directory / "dated").mkdir(0o755)
    (directory / "dated" / "file").write_text("a file of a certain time")
    (directory / "dated" / "file").chmod(0o644)
    os.utime(directory / "dated" / "file", (0, 1_600_000_000))
    (directory / "vm.toml").write_text(MANIFEST)
    (directory / "vm.toml").chmod(0o644)
    return directory


def build(
    directory: Path, *options: str, umask: int = 0o022, wrapper: Sequence[str] = (), **environment: str
) -> dict[str, str]:
    """Build in a process of its own; every artifact with its mode and digest, launch files included."""
    done = subprocess.run(
        [*wrapper, sys.executable, "-m", "bangerbuild", "apply", *options],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | environment,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    store = directory / "build"
    paths = [path for top in ("images", "vms") for path in (store / top).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(store)): f"{path.stat().st_mode & 0o7777:04o} {clone.digest(path)}"
        for path in paths
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a build gives in plain surroundings."""
    return build(furnish(tmp_path_factory.mktemp("reference") / "project"), "-j1")


def test_the_reference_holds_what_the_manifest_asks_for(reference: dict[str, str]) -> None:
    names = [*map(PurePath, reference)]
    assert Counter(name.name for name in names if name.parts[0] == "images") == {
        "rootfs.ext4": 5,
        "vmlinuz": 1,
        "vmlinux": 1,
        "initrd.img": 1,
        "work-seed.ext4": 1,
        "work-seed@40MiB.ext4": 1,
    }
    launch = {"qemu.sh", "cloud-hypervisor.sh", "firecracker.json", "attach.sh", "detach.sh"}
    assert {name.name for name in names if name.parts[1] == "web"} == {
        *launch,
        *("root.cow", "work.ext4", "data.ext4"),
    }
    assert {name.name for name in names if name.parts[1] == "db"} >= {"root.ext4", "work.ext4"}


ELSEWHERE: dict[str, dict[str, Any]] = {
    "an open umask": {"umask": 0o000},
    "a tight umask": {"umask": 0o077},
    "another time zone": {"TZ": "Asia/Tokyo"},
    "another home": {"HOME": "/"},
    "another language": {"LANG": "tr_TR.UTF-8", "LC_ALL": "C"},
    "another hash seed": {"PYTHONHASHSEED": "12345"},
    "a private cache": {"XDG_CACHE_HOME": "/nowhere"},
    "another place for scratch files": {"TMPDIR": "/var/tmp"},
    "e2fsprogs' own settings": {
        "MKE2FS_CONFIG": "/nowhere",
        "E2FSPROGS_FAKE_TIME": "77",
        "E2FSCK_TIME": "77",
    },
}


@pytest.mark.parametrize("surroundings", ELSEWHERE)
def test_the_bytes_and_modes_do_not_depend_on_the_surroundings(
    tmp_path: Path, reference: dict[str, str], surroundings: str
) -> None:
    directory = furnish(tmp_path / "another" / "place")
    assert build(directory, "-j8", **ELSEWHERE[surroundings]) == reference


@pytest.mark.parametrize("day", ["1999-12-31 23:59:59", "2045-06-07 08:09:10"])
def test_the_bytes_do_not_depend_on_the_day(tmp_path: Path, reference: dict[str, str], day: str) -> None:
    """Of us, and of the programs that we start, which get little of our environment."""
    faked = ["env", "NO_FAKE_STAT=1", need("faketime"), "-f", f"@{day}"]  # files have the times they have
    said = subprocess.run([*faked, "date", "+%Y"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == day[:4]
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in E2FSPROGS:
        script = f'#!/bin/sh\ntouch {programs}/{name}.ran\nexec {shlex.join([*faked, need(name)])} "$@"\n'
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    assert build(furnish(tmp_path / "project"), wrapper=faked, PATH=path) == reference
    assert {path.stem for path in programs.glob("*.ran")} == set(E2FSPROGS)


@pytest.mark.root
def test_the_bytes_do_not_depend_on_the_user(tmp_path: Path, reference: dict[str, str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    directory = furnish(tmp_path / "project")
    for path in (directory, *directory.rglob("*")):
        os.lchown(path, OTHER_USER, OTHER_USER)
    let_others_in(tmp_path)
    ids = (f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups")
    wrapper = [need("setpriv", "util-linux"), *ids]
    probe = subprocess.run([*wrapper, sys.executable, "-c", ""], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("another user can't run this Python")
    assert build(directory, "-j8", wrapper=wrapper, HOME=str(directory)) == reference
    assert (directory / "build" / "vms" / "web" / "root.cow").stat().st_uid == OTHER_USER


def test_the_bytes_do_not_depend_on_the_order_or_the_times_of_the_hosts_files(
    tmp_path: Path, reference: dict[str, str]
) -> None:
    directory = furnish(tmp_path / "project", reverse=True)
    dated = directory / "dated" / "file"  # in a VM, synced files have the host's times
    for number, path in enumerate(sorted({*directory.rglob("*")} - {dated})):
        os.utime(path, (number, number), follow_symlinks=False)
    assert build(directory) == reference


def test_the_times_of_a_vms_synced_files_are_all_that_counts_of_times(
    tmp_path: Path, reference: dict[str, str]
) -> None:
    directory = furnish(tmp_path / "project")
    os.utime(directory / "dated" / "file", (0, 1_500_000_000))
    built = build(directory)
    assert {name for name in built if built[name] != reference[name]} == {"vms/web/data.ext4"}


def test_a_rebuild_in_the_same_place_gives_the_same_bytes(tmp_path: Path, reference: dict[str, str]) -> None:
    directory = furnish(tmp_path / "project")
    build(directory)
    shutil.rmtree(directory / "build")
    assert build(directory) == reference


def test_another_time_gives_other_bytes_to_what_is_new(tmp_path: Path, reference: dict[str, str]) -> None:
    built = build(furnish(tmp_path / "project"), SOURCE_DATE_EPOCH="1700000000")
    assert built.keys() != reference.keys()
    assert built["vms/web/root.cow"] != reference["vms/web/root.cow"]


def test_another_time_keeps_what_is_there_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(furnish(tmp_path / "project"))
    before = build(project.directory)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    actions = project.plan()
    assert {action.verb.value for action in actions.values()} == {"keep"}
    assert codes(actions["image.tar.rootfs"].reasons) == ["tool-changed"]
    assert codes(actions["vm.web.root.patch"].reasons) == ["tool-changed"]
    assert build(project.directory, SOURCE_DATE_EPOCH="1700000000") == before


UPDATES: dict[str, Callable[[Path], object]] = {
    "a file of a tree": lambda directory: (directory / "tree" / "file3").write_text("new"),
    "the manifest": lambda directory: (directory / "vm.toml").write_text(MANIFEST.replace("80", "8080")),
    "the tarball": lambda directory: write_tar(directory / "root.tar", {**DEBIAN, "new": "file"}),
}


@pytest.mark.parametrize("update", UPDATES)
def test_an_update_gives_the_bytes_of_a_build_from_nothing(tmp_path: Path, update: str) -> None:
    updated, fresh = furnish(tmp_path / "updated"), furnish(tmp_path / "fresh")
    build(updated)
    UPDATES[update](updated)
    UPDATES[update](fresh)
    made = build(fresh)
    assert {name: digest for name, digest in build(updated).items() if name in made} == made
