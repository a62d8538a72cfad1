"""Disk images: the root is taken out of each kind, said in the plan, and becomes an image like any other."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import zstandard

from bangerbuild.errors import SourceError
from bangerbuild.host import search
from bangerbuild.model import HostPath, Outcome, ReasonCode, Source, Verb
from bangerbuild.sources.disk_image import DiskImageSource
from bangerbuild.sources.file_kinds import FILE_KINDS
from bangerbuild.sources.files import kind_of
from tests.need import need
from tests.projects import DEBIAN
from tests.sources.building import ID, MIB, built, declared, locked, problems, recipe
from tests.virtual_disk.making import (
    BIOS,
    EFI,
    LINUX,
    ROOT_X86_64,
    XBOOTLDR,
    Part,
    converted,
    disk,
    fat,
    filesystem,
    gpt_of_4096,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.projects import Project
    from tests.web import Web

NO_CLOUD = "/etc/cloud/cloud.cfg.d/zz-bangerbuild-datasource.cfg"
CLOUD = {name: text for name, text in DEBIAN.items() if isinstance(text, str)} | {
    "etc/cloud/cloud.cfg": "datasource_list: [ Ec2, NoCloud ]\n",
    "etc/cloud/cloud.cfg.d/99-image.cfg": "datasource_list: [ Ec2 ]\n",
    "usr/lib/systemd/systemd": "\x7fELF",
    "usr/lib/systemd/system/cloud-init.service": "[Service]\n",
}
MANIFEST = '[image.debian.rootfs]\ndisk_image = "disk.img"\n'
VM = """
[vm.web]
image = "debian"
work = false
network = { address = "172.16.0.10/24" }
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with cloud-init."""
    return filesystem(tmp_path_factory.mktemp("root") / "root", CLOUD, size="32M", label="root")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A disk with a table."""
    directory = tmp_path_factory.mktemp("debian")
    esp = fat(directory / "esp")
    parts = (Part(1, BIOS, number=14), Part(8, EFI, esp, number=15), Part(40, ROOT_X86_64, root, number=1))
    return disk(directory / "disk.raw", parts)


def put(project: Project, path: Path) -> Path:
    """The project's disk.img."""
    target = project.directory / "disk.img"
    target.unlink(missing_ok=True)
    target.symlink_to(path)
    return target


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk", "vhdx", "vdi", "vpc"])
def test_the_root_comes_out_of_each_format(
    project: Project, tmp_path: Path, debian: Path, root: Path, form: str
) -> None:
    put(project, converted(debian, tmp_path / "converted", form))
    image = built(project, MANIFEST)
    assert image.path.stat().st_size == root.stat().st_size
    assert image.text("/etc/hostname") == "image\n"
    assert image.superblock("Filesystem volume name") == "root"
    assert image.path.stat().st_mode & 0o7777 == 0o444
    assert project.facts(ID)["partition"] == {"number": 1, "why": "its type is Linux root (x86-64)"}


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "qcow2 in xz", "ext4 in gzip"])
def test_a_compressed_file_is_unpacked_and_nothing_of_it_stays(
    project: Project, tmp_path: Path, debian: Path, root: Path, compression: str
) -> None:
    qcow2 = converted(debian, tmp_path / "converted", "qcow2")
    packed = {
        "gzip": lambda: gzip.compress(debian.read_bytes(), 1),
        "xz": lambda: lzma.compress(debian.read_bytes(), preset=0),
        "zstd": lambda: zstandard.compress(debian.read_bytes()),
        "qcow2 in xz": lambda: lzma.compress(qcow2.read_bytes(), preset=0),
        "ext4 in gzip": lambda: gzip.compress(root.read_bytes(), 1),
    }[compression]()
    (project.directory / "disk.img").write_bytes(packed)
    assert DiskImageSource.claims(str(project.directory / "disk.img"))
    image = built(project, MANIFEST)
    assert image.text("/etc/hostname") == "image\n"
    assert list((project.store / ".staging").iterdir()) == []


def test_the_image_is_the_same_bytes_whatever_the_disk_was_in(
    project: Project, tmp_path: Path, debian: Path
) -> None:
    images = []
    for form in ("raw", "qcow2"):
        put(project, converted(debian, tmp_path / form, form))
        images.append(built(project, MANIFEST).path.read_bytes())
    assert images[0] == images[1]


def test_only_what_the_root_holds_is_ever_on_disk(project: Project, tmp_path: Path, root: Path) -> None:
    raw = disk(tmp_path / "large", [Part(40, LINUX), Part(40, ROOT_X86_64, root)], mib=30 << 10)
    put(project, converted(raw, tmp_path / "large.qcow2", "qcow2", "-c"))
    image = built(project, MANIFEST)
    assert image.path.stat().st_size == root.stat().st_size
    assert image.path.stat().st_blocks <= root.stat().st_blocks + 2048


def test_of_a_large_raw_disk_only_what_has_data_is_read(project: Project, tmp_path: Path, root: Path) -> None:
    put(project, disk(tmp_path / "large", [Part(40, LINUX), Part(40, ROOT_X86_64, root)], mib=30 << 10))
    project.write(MANIFEST)
    for command in (["apply"], ["plan", "--no-diff"], ["verify", "--rebuild"]):
        assert read_bytes(project, *command) < 1 << 30, command


def read_bytes(project: Project, *command: str) -> int:
    """How much a command and the programs that it runs read, as the kernel counts it of whom it waits for."""
    script = (
        "import subprocess, sys\n"
        "argv = [sys.executable, '-m', 'bangerbuild', *sys.argv[1:]]\n"
        "subprocess.run(argv, check=True, stdout=sys.stderr)\n"
        "print(open('/proc/self/io').readline())\n"
    )
    argv = [sys.executable, "-c", script, *command]
    done = subprocess.run(argv, cwd=project.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.removeprefix("rchar: "))


def test_a_disk_of_4096_byte_sectors_is_read(project: Project, tmp_path: Path, root: Path) -> None:
    put(project, gpt_of_4096(tmp_path / "disk", [(ROOT_X86_64, "root", root)]))
    assert built(project, MANIFEST).text("/etc/hostname") == "image\n"


def test_the_plan_says_which_partition_is_taken_and_why(project: Project, debian: Path) -> None:
    put(project, debian)
    project.write(MANIFEST)
    assert project.plan()[ID].notes == (
        "partition 1: ext4 'root', 40 MiB, Linux root (x86-64) is taken: its type is Linux root (x86-64)",
    )
    project.build()
    assert project.plan()[ID].notes == ()


def test_what_can_not_be_taken_is_blocked_in_the_plan_with_the_words_of_the_error(
    project: Project, tmp_path: Path, root: Path
) -> None:
    put(project, disk(tmp_path / "disk", [Part(40, LINUX, root), Part(40, LINUX, root)], mib=128))
    project.write(MANIFEST + VM)
    plan = project.plan()
    (reason,) = [one for one in plan[ID].reasons if one.code is ReasonCode.WOULD_FAIL]
    assert plan[ID].verb is Verb.BLOCKED
    assert reason.facts["message"] == "'disk.img' has more than one root filesystem: partitions 1 and 2"
    assert str(reason.facts["details"]).count("ext4 'root'") == 2
    assert plan["vm.web.root"].verb is Verb.BLOCKED
    assert {result.outcome for result in project.apply().values()} == {Outcome.SKIPPED}
    built(project, MANIFEST + "partition = 2\n")
    assert project.facts(ID)["partition"] == {"number": 2, "why": "`partition` names it"}


def test_a_disk_that_names_a_file_of_the_host_builds_nothing(project: Project, tmp_path: Path) -> None:
    path = project.directory / "disk.img"
    command = [need("qemu-img", "qemu-utils"), "create", "-q", "-u", "-f", "qcow2", "-F", "raw"]
    subprocess.run([*command, "-b", "/etc/shadow", path, "8M"], check=True)
    project.write(MANIFEST)
    action = project.plan()[ID]
    assert action.verb is Verb.BLOCKED
    assert "backing file, '/etc/shadow'" in str(action.reasons)
    (tmp_path / "packed").write_bytes(gzip.compress(path.read_bytes()))
    put(project, tmp_path / "packed")
    assert "backing file, '/etc/shadow'" in project.error(ID).brief


def test_more_data_than_max_size_allows_is_refused(project: Project, tmp_path: Path) -> None:
    root = filesystem(tmp_path / "root", {**CLOUD, "random": "x" * (8 * MIB)}, size="32M")
    put(project, converted(disk(tmp_path / "disk", [Part(40, LINUX, root)]), tmp_path / "q", "qcow2"))
    project.write(f'{MANIFEST}max_size = "4MiB"\n')
    error = project.error(ID)
    assert isinstance(error, SourceError)
    assert "unpacks to more than 4 MiB" in error.brief
    built(project, f'{MANIFEST}max_size = "64MiB"\n')


def test_a_larger_size_grows_the_filesystem(project: Project, debian: Path) -> None:
    put(project, debian)
    image = built(project, f'{MANIFEST}size = "64MiB"\n')
    assert image.superblock("Block count") == str(64 * MIB // 4096)


def test_the_kernel_is_found_in_a_boot_partition(project: Project, tmp_path: Path) -> None:
    files = {**CLOUD, "etc/fstab": "LABEL=BOOT /boot ext4 defaults 0 2\n", "boot/efi/.keep": ""}
    root = filesystem(tmp_path / "root", files, size="32M")
    boot = filesystem(tmp_path / "boot", {"vmlinuz-1": "kernel"}, "-U", "random", label="BOOT", size="8M")
    put(project, disk(tmp_path / "disk", [Part(40, LINUX, root), Part(8, XBOOTLDR, boot)]))
    assert built(project, MANIFEST).text("/boot/vmlinuz-1") == "kernel"


@pytest.mark.parametrize(("kernel", "expected"), [("0123/6.1/linux", True), ("EFI/BOOT/BOOTX64.EFI", False)])
def test_an_efi_system_partition_is_put_into_boot_if_it_holds_a_kernel(
    project: Project,
    tmp_path: Path,
    kernel: str,
    expected: bool,  # noqa: FBT001
) -> None:
    root = filesystem(tmp_path / "root", {**CLOUD, "boot/loader/.keep": ""}, size="32M")
    esp = fat(tmp_path / "esp", files={kernel: "kernel"})
    put(project, disk(tmp_path / "disk", [Part(8, EFI, esp), Part(40, LINUX, root)]))
    assert built(project, MANIFEST).exists(f"/boot/{kernel}") is expected


def test_a_work_seed_may_come_out_of_one(project: Project, tmp_path: Path, debian: Path) -> None:
    seed = filesystem(tmp_path / "seed", {"root/.profile": "hello\n"}, size="8M")
    put(project, debian)
    disk(project.directory / "seed.img", [Part(8, LINUX, seed)])
    project.write('[image.debian]\nrootfs.disk_image = "disk.img"\nwork_seed.disk_image = "seed.img"\n')
    project.build()
    assert project.artifact("image.debian.work_seed").is_file()


# cloud-init


def test_cloud_init_is_told_that_there_is_no_cloud(project: Project, debian: Path) -> None:
    put(project, debian)
    image = built(project, MANIFEST)
    assert image.text(NO_CLOUD).endswith("datasource_list: [ None ]\n")
    assert max(image.names("/etc/cloud/cloud.cfg.d")) == NO_CLOUD.rpartition("/")[2]


def test_an_image_of_an_ext4_is_told_nothing(project: Project, root: Path) -> None:
    put(project, root)
    image = built(project, MANIFEST.replace("disk_image", "ext4"))
    assert not image.exists(NO_CLOUD)


def test_kept_cloud_init_has_its_data_sources_and_its_network(project: Project, debian: Path) -> None:
    put(project, debian)
    built(project, f'{MANIFEST}{VM}guest = {{ cloud_init = "keep" }}\n')
    guest = project.guest()
    assert "datasource_list" not in guest.text(NO_CLOUD)
    assert not guest.exists("/etc/cloud/cloud.cfg.d/99-bangerbuild.cfg")


# the manifest


def test_it_has_a_digest_in_the_lock_file_and_its_own_role(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    source = declared(tmp_path, 'rootfs = { disk_image = "disk", partition = "LABEL=root" }').rootfs
    assert source == DiskImageSource(HostPath(tmp_path / "disk", "disk"), "LABEL=root")
    assert recipe(source) == {"rootfs.partition": "LABEL=root", "rootfs.size": None}
    assert source.reads("rootfs") == (
        Source("rootfs.disk_image", tmp_path / "disk", "disk", parts_from_bytes=0),
    )
    assert source.lock_words == {"disk_image": "disk"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0", "there is no partition 0"),
        ('"LABEL="', "'LABEL=' names no partition"),
        ('"second"', "'second' names no partition"),
        ("1.5", "partition is 1.5: give "),
    ],
)
def test_a_partition_that_can_not_be_meant_is_a_problem(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    (problem,) = problems(tmp_path, f'rootfs.disk_image = "disk"\nrootfs.partition = {given}')
    assert message in problem.message
    assert (problem.line, problem.key) == (3, "image.a.rootfs.partition")


def test_a_number_of_a_partition_may_be_a_string(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    source = declared(tmp_path, 'rootfs = { disk_image = "disk", partition = "2" }').rootfs
    assert source == DiskImageSource(HostPath(tmp_path / "disk", "disk"), "2")


def test_a_partition_goes_with_disks_only(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(bytes(512))
    (problem,) = problems(tmp_path, 'rootfs.tar = "x.tar"\nrootfs.partition = 1')
    assert "'partition' goes with" in problem.message


# behind an address, and on the command line


def test_a_partition_of_what_has_none_behind_an_address_is_refused(
    project: Project, web: Web, served: Path, root: Path
) -> None:
    shutil.copy(root, served / "root.ext4")
    project.write(f'[image.debian.rootfs]\nurl = "{web.url("root.ext4")}"\npartition = 2\n')
    assert "which has no partitions" in project.foretold(ID)


def test_errors_of_the_filesystem_are_not_mended_on_the_disk(
    project: Project, tmp_path: Path, root: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copy(root, damaged)
    subprocess.run(
        [need("debugfs", "e2fsprogs"), "-w", "-R", "set_inode_field /etc links_count 7", damaged], check=True
    )
    put(project, disk(tmp_path / "disk", [Part(40, LINUX, damaged)]))
    project.write(MANIFEST)
    error = project.error(ID)
    assert error.brief == "the filesystem in 'disk.img' has errors"
    assert str(error.hint).endswith("or mend partition 1 of a raw copy of it with `e2fsck -f`")


def test_a_filesystem_larger_than_its_partition_is_blocked_in_the_plan(
    project: Project, tmp_path: Path, root: Path
) -> None:
    path = disk(tmp_path / "disk", [Part(40, LINUX, root)])
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack("<I", 1 << 20), MIB + 1024 + 4)
    put(project, path)
    project.write(MANIFEST)
    action = project.plan()[ID]
    assert action.verb is Verb.BLOCKED
    assert "and its partition has" in str(action.reasons[-1].facts["message"])


def test_one_behind_an_address_is_locked_and_its_partition_may_be_named(
    project: Project, web: Web, served: Path, tmp_path: Path, root: Path
) -> None:
    raw = disk(tmp_path / "disk", [Part(40, LINUX, root), Part(40, LINUX, root)], mib=128)
    converted(raw, served / "cloud.qcow2", "qcow2", "-c")
    text = f'[image.debian.rootfs]\nurl = "{web.url("cloud.qcow2")}"\n'
    project.write(text)
    assert "more than one root filesystem" in project.foretold(ID)
    project.write(f"{text}partition = 2\n")
    assert "is taken: `partition` names it" in project.plan()[ID].notes[0]
    image = built(project, f"{text}partition = 2\n")
    assert image.text(NO_CLOUD)
    assert ID in locked(project).entries
    (served / "cloud.qcow2").unlink()
    image.path.unlink()
    project.offline = True
    assert built(project, f"{text}partition = 2\n").text("/etc/hostname") == "image\n"


def test_of_a_disk_behind_an_address_the_plan_says_what_the_cache_tells(
    project: Project, web: Web, served: Path, debian: Path
) -> None:
    data = debian.read_bytes()
    (served / "cloud.img").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    project.write(f'[image.debian.rootfs]\nurl = "{web.url("cloud.img")}"\nsha256 = "{digest}"\n')
    assert project.plan()[ID].notes == ("which partition is taken is told when it is fetched",)
    assert web.requests == []
    project.build()
    project.artifact(ID).unlink()
    (note,) = project.plan()[ID].notes
    assert note.endswith("is taken: its type is Linux root (x86-64)")


def test_a_damaged_file_of_the_cache_says_nothing_as_it_will_be_fetched_again(
    project: Project, web: Web, served: Path, debian: Path, cache: Path
) -> None:
    shutil.copy(debian, served / "cloud.img")
    text = f'[image.debian.rootfs]\nurl = "{web.url("cloud.img")}"\n'
    built(project, text).path.unlink()
    (blob,) = (cache / "blobs/sha256").iterdir()
    os.truncate(blob, MIB)
    action = project.plan()[ID]
    assert (action.verb, action.notes) == (Verb.CREATE, ())
    assert built(project, text).text("/etc/hostname") == "image\n"


def test_of_a_compressed_disk_without_a_table_the_plan_says_that_all_of_it_is_taken(
    project: Project, debian: Path, root: Path
) -> None:
    notes: list[str] = []
    for content in (root, debian):
        (project.directory / "disk.img").write_bytes(gzip.compress(content.read_bytes(), 1))
        project.write(MANIFEST)
        notes += project.plan()[ID].notes
    assert notes == [
        "the whole disk is taken: it has no partition table",
        "which partition is taken is told when it is read: it is compressed (gzip)",
    ]


def test_files_are_told_by_their_content(tmp_path: Path, debian: Path, root: Path) -> None:
    kinds = FILE_KINDS.values()
    assert kind_of(debian, written="x", kinds=kinds) is DiskImageSource
    assert kind_of(converted(debian, tmp_path / "q", "qcow2"), written="x", kinds=kinds) is DiskImageSource
    assert kind_of(root, written="x", kinds=kinds) is not DiskImageSource
    assert DiskImageSource.claims(str(debian))
    assert not DiskImageSource.claims(str(root))
    assert not DiskImageSource.claims(str(tmp_path / "missing"))


def test_a_cd_is_no_disk_image(tmp_path: Path, debian: Path) -> None:
    image = bytearray(debian.read_bytes()[:MIB])
    image[0x8001:0x8006] = b"CD001"
    (tmp_path / "cd.iso").write_bytes(image)
    assert not DiskImageSource.claims(str(tmp_path / "cd.iso"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("head", "what", "key"),
    [
        (bytes(257) + b"ustar", "a tarball", "tar"),
        (b"hsqs", "a squashfs image", "squashfs"),
        (b"070701", "a cpio archive", "cpio"),
    ],
)
def test_what_is_no_disk_is_named_in_the_plan_with_the_key_that_takes_it(
    tmp_path: Path, pack: Callable[[bytes], bytes], head: bytes, what: str, key: str
) -> None:
    (tmp_path / "disk.img").write_bytes(pack(head + bytes(4096)))
    source = declared(tmp_path, 'rootfs = { disk_image = "disk.img" }').rootfs
    with pytest.raises(SourceError, match=f"'disk.img' is {what}.*: it is no disk image") as caught:
        source.notes(None)
    assert caught.value.hint == f"name it with `{key} = …` in a manifest"


def test_without_qemu_img_the_plan_says_which_package_has_it(
    project: Project, tmp_path: Path, debian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, converted(debian, tmp_path / "q", "qcow2"))
    project.write(MANIFEST)
    which = search.which
    monkeypatch.setattr(search, "which", lambda name, path: None if name == "qemu-img" else which(name, path))
    (reason,) = [one for one in project.plan()[ID].reasons if one.code is ReasonCode.WOULD_FAIL]
    assert reason.facts == {"message": "'qemu-img' is not installed", "hint": "apt install qemu-utils"}
