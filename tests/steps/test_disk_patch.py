"""Disks that a guest has written to, changed where they lie: whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import manifest, store
from bangerbuild.disk import clone, interrupted, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.libext2fs import INODE_ALLOC_FAIL
from bangerbuild.disk.libext2fs.library import BLOCK_ALLOC_FAIL
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import BangerError, FilesystemError, SourceError
from bangerbuild.host.process import Command
from bangerbuild.model import Verb
from bangerbuild.steps.root_patch import RootPatch
from bangerbuild.steps.work_patch import WorkPatch
from tests import PROJECT
from tests.disk.ext4_tools import change_superblock
from tests.disk.faults import Fault, Host, Kill, Killed, running_on
from tests.disk.journals import Log, differing_blocks
from tests.manifests import KEY
from tests.need import need
from tests.steps.guest_disks import IMAGE, MIB, as_guest, label, vm_disk, write_precious
from tests.stores import is_as_published

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from tests.projects import Disk, Project

WORK = IMAGE + '[vm.web]\nimage = "debian"\nwork = { size = "48MiB" }\nroot = { format = "FORMAT" }\n'
NOTE = '[[vm.web.file]]\nguest = "~/note"\ncontent = "mine\\n"\n'
CONF = '[[vm.web.file]]\nguest = "/etc/app.conf"\ncontent = "port = 80\\n"\n'
PRECIOUS = {"/precious": b"not to be lost\n" * 5000, "/var/lib/db": os.urandom(300_000)}


def declare(project: Project, *parts: str, form: str = "snapshot") -> None:
    project.write(WORK.replace("FORMAT", form) + "".join(parts))


@pytest.fixture(params=["snapshot", "raw"])
def built(debian: Project, request: pytest.FixtureRequest) -> Project:
    """A VM whose guest has written to its root, of either format."""
    declare(debian, form=request.param)
    debian.build()
    with as_root(debian) as disk:
        for path, content in PRECIOUS.items():
            disk.write_file(path, content, uid=1000)
    return debian


def is_raw(project: Project) -> bool:
    return (project.store / "vms/web/root.ext4").exists()


@contextmanager
def as_root(project: Project) -> Iterator[Filesystem]:
    """The guest at work on its root."""
    with as_guest(root_file(project)) if is_raw(project) else project.as_guest() as disk:
        yield disk


def root_file(project: Project) -> Path:
    return project.store / "vms/web" / ("root.ext4" if is_raw(project) else "root.cow")


def root(project: Project) -> Disk:
    """The root as e2fsprogs sees it."""
    return vm_disk(project, "root") if is_raw(project) else project.guest()


def assert_precious(disk: Disk) -> None:
    disk.assert_clean()
    for path, content in PRECIOUS.items():
        assert disk.read(path) == content
        assert disk.stat(path).owner == "1000:0"


def declare_conf(project: Project, more: str = "") -> None:
    declare(project, CONF, more, form="raw" if is_raw(project) else "snapshot")


# a patch is one transaction


def test_a_root_is_patched_where_it_lies(built: Project) -> None:
    inode, base = root_file(built).stat().st_ino, clone.digest(built.image())
    declare_conf(built)
    built.build()
    assert root_file(built).stat().st_ino == inode
    assert root(built).text("/etc/app.conf") == "port = 80\n"
    assert_precious(root(built))
    assert clone.digest(built.image()) == base
    assert set(built.store.glob("vms/web/root*")) == {root_file(built)}


def test_one_file_that_can_not_be_written_leaves_all_others_unwritten(built: Project) -> None:
    with as_root(built) as disk:
        disk.make_directory("/etc/in-the-way")
    before = root_file(built).read_bytes()
    declare_conf(built, '[[vm.web.file]]\nguest = "/etc/in-the-way"\ncontent = ""\n')
    reason = built.blocked("vm.web.root.patch")
    assert (reason["code"], reason["guest"]) == ("path-in-the-way", "/etc/in-the-way")
    assert root_file(built).read_bytes() == before
    assert not interrupted.is_half_patched(root_file(built))


def test_what_breaks_off_in_the_middle_leaves_the_disk_as_it_was(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = built.directory / "tree"
    tree.mkdir()
    for name in "abc":
        (tree / name).write_bytes(bytes(5000))
    before = root_file(built).read_bytes()
    declare_conf(built, '[[vm.web.file_sync]]\nhost = "tree"\nguest = "/srv/tree"\n')
    write_file = Filesystem.write_file

    def short(disk: Filesystem, path: str, *content: BinaryIO, **more: Any) -> None:  # noqa: ANN401
        if path == "/srv/tree/b":
            raise SourceError("the content of 'b' ends after 100 of 5000 bytes")
        write_file(disk, path, *content, **more)

    monkeypatch.setattr(Filesystem, "write_file", short)
    assert built.error("vm.web.root.patch").brief == "the content of 'b' ends after 100 of 5000 bytes"
    assert root_file(built).read_bytes() == before


def test_every_written_file_is_read_back(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the medium can be at fault by then."""
    flush = Transaction.flush

    def lossy(file: Transaction) -> None:
        flush(file)
        content = file._path.read_bytes()
        file._path.write_bytes(content.replace(b"port = 80\n", b"port = 81\n"))

    monkeypatch.setattr(Transaction, "flush", lossy)
    declare_conf(built)
    error = built.error("vm.web.root.patch")
    assert (
        error.brief
        == f"'/etc/app.conf' in 'vms/web/{root_file(built).name}' does not read back as it was written"
    )
    assert error.hint == "check the disk of this host (dmesg), then `bangerbuild apply`"


def test_a_patch_that_is_killed_anywhere_is_finished_by_the_next_apply(
    built: Project, tmp_path: Path
) -> None:
    declare_conf(built)
    kept = tmp_path / "kept"
    shutil.copytree(built.store, kept)
    with running_on(host := Host()):
        built.build()
    for at in range(1, host.calls + 1, max(1, host.calls // 8)):
        shutil.rmtree(built.store)
        shutil.copytree(kept, built.store)
        with running_on(Kill(at=at)), suppress(Killed):
            built.apply()
        plan = built.plan()
        assert plan["vm.web.root"].verb is Verb.KEEP
        built.build()
        assert root(built).text("/etc/app.conf") == "port = 80\n", at
        assert_precious(root(built))
        assert set(built.store.glob("vms/web/root*")) == {root_file(built)}
        assert list((built.store / ".staging").iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_fault_anywhere_in_a_patch_is_told_and_leaves_what_was_there_or_what_shall_be(
    built: Project, tmp_path: Path, code: int
) -> None:
    declare_conf(built)
    kept = tmp_path / "kept"
    shutil.copytree(built.store, kept)
    with running_on(host := Host()):
        built.build()
    for at in range(1, host.calls + 1, max(1, host.calls // 6)):
        shutil.rmtree(built.store)
        shutil.copytree(kept, built.store)
        with (
            running_on(Fault(at=at, code=code)),
            suppress(BangerError),
        ):
            built.apply()
        built.build()
        assert root(built).text("/etc/app.conf") == "port = 80\n", at
        assert_precious(root(built))


# what a guest left in its journal


@contextmanager
def mounted(path: Path, point: Path) -> Iterator[Path]:
    """A kernel has the filesystem in use."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    point.mkdir()
    done = subprocess.run([need("mount"), "-o", "loop", path, point], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no loop device here")
    try:
        yield point
    finally:
        subprocess.run([need("umount"), point], check=True)


def killed_in_mid_write(path: Path) -> Path:
    """The disk as a guest leaves it that is killed while it writes, with a deleted file still open."""
    aside = path.parent if path.parent.name != "web" else path.parents[3]
    used, killed = aside / "used", aside / "killed"
    shutil.copyfile(path, used)
    with mounted(used, aside / "mnt") as point, ExitStack() as stack:
        (point / "synced").write_bytes(b"synced by the guest" * 1000)
        orphan = stack.enter_context((point / "orphan").open("wb"))
        orphan.write(b"x" * 100_000)
        os.sync()
        (point / "orphan").unlink()
        (point / "synced").rename(point / "renamed")
        fd = os.open(point, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        subprocess.run([need("cp"), "--sparse=always", used, killed], check=True)
    used.unlink()
    return killed


def kill_guest(project: Project) -> None:
    """Have the root of the VM be one whose guest was killed."""
    disk = root(project).path
    killed = killed_in_mid_write(disk)
    if is_raw(project):
        root_file(project).write_bytes(killed.read_bytes())
        return
    with RawFile(project.base()) as base, SnapshotStore(base, project.cow(), writable=True) as store_:
        for block, data in differing_blocks(disk, killed, 4096).items():
            store_.write(block * 4096, data)
        store_.commit()


@pytest.mark.root
def test_a_journal_is_replayed_before_a_disk_is_patched(built: Project) -> None:
    kill_guest(built)
    base = clone.digest(built.image())
    dirty = root(built)
    assert "needs_recovery" in dirty.superblock("Filesystem features")
    declare_conf(built)
    built.build()
    patched = root(built)
    assert patched.text("/etc/app.conf") == "port = 80\n"
    assert patched.read("/renamed") == b"synced by the guest" * 1000
    assert not patched.exists("/synced")
    assert not patched.exists("/orphan")
    assert_precious(patched)
    assert "needs_recovery" not in patched.superblock("Filesystem features")
    assert clone.digest(built.image()) == base
    assert set(built.store.glob("vms/web/root*")) == {root_file(built)}


@pytest.mark.root
def test_a_journal_of_a_work_disk_is_replayed_before_it_grows(debian: Project) -> None:
    declare(debian)
    debian.build()
    work = vm_disk(debian, "work")
    write_precious(work.path)
    work.path.write_bytes(killed_in_mid_write(work.path).read_bytes())
    debian.write(WORK.replace("FORMAT", "snapshot").replace("48MiB", "96MiB"))
    debian.build()
    work.assert_clean()
    assert work.path.stat().st_size == 96 * MIB
    assert work.read("/renamed") == b"synced by the guest" * 1000
    assert work.text("/notes") == "not to be lost\n"


@pytest.mark.root
def test_replaying_that_is_killed_is_done_by_the_next_apply(built: Project, tmp_path: Path) -> None:
    kill_guest(built)
    declare_conf(built)
    kept = tmp_path / "kept"
    shutil.copytree(built.store, kept)
    with running_on(host := Host()):
        built.build()
    for at in range(1, host.calls + 1, max(1, host.calls // 6)):
        shutil.rmtree(built.store)
        shutil.copytree(kept, built.store)
        with running_on(Kill(at=at)), suppress(Killed):
            built.apply()
        built.build()
        assert root(built).read("/renamed") == b"synced by the guest" * 1000
        assert root(built).text("/etc/app.conf") == "port = 80\n"
        assert_precious(root(built))


def test_a_disk_whose_orphans_were_left_is_cleared_before_it_is_patched(debian: Project) -> None:
    declare(debian, form="raw")
    debian.build()
    work = vm_disk(debian, "work")
    with as_guest(work.path) as disk:
        disk.write_file("/orphan", b"x" * 50_000)
    ino = work.inode("/orphan")
    for request in (
        "unlink /orphan",
        f"set_inode_field <{ino}> links_count 0",
        f"set_super_value last_orphan {ino}",
    ):
        subprocess.run([need("debugfs"), "-w", "-R", request, work.path], capture_output=True, check=True)
    declare(debian, NOTE, form="raw")
    debian.build()
    work.assert_clean()
    assert work.text("/note") == "mine\n"


def test_a_disk_marked_with_errors_is_refused_with_what_to_type_and_left_alone(debian: Project) -> None:
    declare(debian, form="raw")
    debian.build()
    work = vm_disk(debian, "work").path
    change_superblock(work, state=2)
    before = work.read_bytes()
    declare(debian, NOTE, form="raw")
    reason = debian.blocked("vm.web.work.patch")
    assert reason["message"] == "'vms/web/work.ext4' is marked as having errors"
    assert reason["hint"] == f"e2fsck -f '{work}'"
    assert work.read_bytes() == before


@pytest.mark.parametrize("damage", [{"x0": 0}, {"x14": 1 << 24}], ids=["magic", "start"])
def test_a_damaged_journal_is_not_thrown_away(built: Project, damage: dict[str, int]) -> None:
    """`e2fsck -p` would make a new one, and what the guest had synced last would be gone without a word."""
    disk = root(built).path
    before = disk.with_suffix(".before")
    shutil.copyfile(disk, before)
    log = Log(disk)
    log.add({2000: b"x" * 4096})
    log.superblock(**damage)
    if not is_raw(built):
        with RawFile(built.base()) as base, SnapshotStore(base, built.cow(), writable=True) as cow:
            for block, data in differing_blocks(before, disk, 4096).items():
                cow.write(block * 4096, data)
            cow.commit()
    kept = root_file(built).read_bytes()
    declare_conf(built)
    reason = built.blocked("vm.web.root.patch")
    assert f"the journal of 'vms/web/{root_file(built).name}' is damaged" in str(reason["message"])
    assert reason["hint"] == (
        f"e2fsck -f '{root_file(built)}'"
        if is_raw(built)
        else "start the VM, whose system checks its root; or make it anew with --replace"
    )
    assert root_file(built).read_bytes() == kept


@pytest.mark.root
def test_an_e2fsck_that_fails_is_told_in_its_words_and_the_store_stays(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_guest(built)
    kept = root_file(built).read_bytes()
    declare_conf(built)
    failing = Command(("sh", "-c", "echo run fsck MANUALLY; exit 4"))
    monkeypatch.setattr(tools, "e2fsck_replay", lambda *_args, **_more: failing)
    error = built.error("vm.web.root.patch")
    assert error.brief == f"the journal of 'vms/web/{root_file(built).name}' can't be replayed"
    assert error.details == "run fsck MANUALLY"
    assert root_file(built).read_bytes() == kept


# growing, and taking over


def test_a_work_disk_grows_where_it_lies_and_keeps_everything(debian: Project) -> None:
    declare(debian)
    debian.build()
    work = vm_disk(debian, "work")
    before, inode = write_precious(work.path), work.path.stat().st_ino
    debian.write(WORK.replace("FORMAT", "snapshot").replace("48MiB", "1GiB"))
    debian.build()
    work.assert_clean()
    assert write_precious(work.path) == before
    assert work.path.stat().st_size == 1024 * MIB
    assert label(work.path) == "work"
    if not clone.reflink(work.path, work.path.with_suffix(".probe")):
        assert work.path.stat().st_ino == inode
    assert {action.verb for action in debian.plan().values()} == {Verb.KEEP}


@pytest.fixture
def on_xfs(debian: Project) -> Iterator[Project]:
    """A project on a filesystem whose files can share blocks."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    image, point = debian.directory / "xfs.img", debian.directory / "xfs"
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run([need("mkfs.xfs", "xfsprogs"), "-q", "-m", "reflink=1", image], check=True)
    with mounted(image, point):
        shutil.move(debian.directory / "root.tar", point)
        yield type(debian)(point)


@pytest.mark.root
def test_where_blocks_can_be_shared_a_copy_grows_and_takes_the_disks_place(on_xfs: Project) -> None:
    declare(on_xfs)
    on_xfs.build()
    work = vm_disk(on_xfs, "work")
    before, inode = write_precious(work.path), work.path.stat().st_ino
    on_xfs.write(WORK.replace("FORMAT", "snapshot").replace("48MiB", "96MiB"))
    on_xfs.build()
    assert write_precious(work.path) == before
    assert work.path.stat().st_ino != inode
    work.assert_clean()


@pytest.mark.root
def test_a_disk_that_grew_in_a_copy_is_known_as_it_is_now(on_xfs: Project) -> None:
    declare(on_xfs)
    on_xfs.build()
    write_precious(vm_disk(on_xfs, "work").path)
    on_xfs.write(WORK.replace("FORMAT", "snapshot").replace("48MiB", "96MiB"))
    on_xfs.build()
    assert is_as_published(store.read(on_xfs.store), "vms/web/work.ext4")
    assert {action.verb for action in on_xfs.plan().values()} == {Verb.KEEP}


def test_a_disk_that_is_larger_than_declared_is_not_cut(debian: Project) -> None:
    declare(debian)
    debian.build()
    work = vm_disk(debian, "work").path
    before = work.read_bytes()
    debian.write(WORK.replace("FORMAT", "snapshot").replace("48MiB", "32MiB"))
    assert debian.plan()["vm.web.work"].verb is Verb.BLOCKED
    debian.apply()
    assert work.read_bytes() == before


def test_a_store_gets_room_where_it_lies_and_keeps_what_is_in_it(debian: Project) -> None:
    declare(debian)
    debian.build()
    with debian.as_guest() as disk:
        disk.write_file("/precious", PRECIOUS["/precious"])
    size_bytes = debian.cow().stat().st_size
    manifest = WORK.replace('root = { format = "FORMAT" }', f'root = {{ size = "{size_bytes + MIB}" }}')
    debian.write(manifest.replace(f'"{size_bytes + MIB}"', str(size_bytes + MIB)))
    debian.build()
    assert debian.cow().stat().st_size == size_bytes + MIB
    assert debian.guest().read("/precious") == PRECIOUS["/precious"]


# memory and room


MEASURED = """\
import atexit, pathlib, re, sys
from bangerbuild.cli import run
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]))
sys.exit(run())
"""
"""The command line, which at its end prints how many KiB of memory it had at most."""


def test_a_large_tree_gets_into_a_guests_disk_in_little_memory(debian: Project) -> None:
    declare(debian)
    debian.build()
    with debian.as_guest() as disk:
        disk.write_file("/precious", b"x")
    tree = debian.directory / "tree"
    tree.mkdir()
    for number in range(6):
        (tree / f"f{number}").write_bytes(os.urandom(MIB) * 16)
    sync = '[[vm.web.file_sync]]\nhost = "tree"\nguest = "~/tree"\n'
    debian.write(WORK.replace("FORMAT", "snapshot").replace("48MiB", "256MiB") + sync)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "apply", "-q"],
        cwd=debian.directory,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 150 << 10
    work = vm_disk(debian, "work")
    work.assert_clean()
    assert work.read("/tree/f5") == (tree / "f5").read_bytes()


ODD_SYNC = '[[{table}.file_sync]]\nhost = "odd"\nguest = "{path}"\n'
ODD = f"""[vm.web]
image = "debian"
ssh_authorized_keys = ["{KEY}"]
[vm.web.work]
size = "16MiB"
[[vm.web.disk]]
name = "data"
size = "16MiB"
mount = "/data"
[[vm.web.file]]
guest = "~/.ssh/authorized_keys"
content = ""
""" + "".join(ODD_SYNC.format(table="vm.web", path=path) for path in ("/srv/odd", "~/odd", "/data/odd"))


def test_the_plan_says_of_the_image_and_each_disk_what_the_run_warns_of(debian: Project) -> None:
    (debian.directory / "odd").mkdir()
    os.mkfifo(debian.directory / "odd/fifo")
    debian.write(IMAGE + ODD_SYNC.format(table="image.debian", path="/opt/odd") + ODD)
    fifo = "'odd/fifo' is a fifo and is left out"
    planned = {step: action.warnings for step, action in debian.plan().items() if action.warnings}
    assert planned == {
        "image.debian.rootfs": (fifo,),
        "vm.web.root.patch": (fifo,),
        "vm.web.work.patch": (
            "ssh_authorized_keys is not used: a declared file stands at '/root/.ssh/authorized_keys'",
            fifo,
        ),
        "vm.web.disk.data.patch": (fifo,),
    }
    debian.build()
    said = {warning.partition(": ")[2] for warning in debian.warnings}  # each once, of whatever step
    of_the_image = {warning for warning in said if "LABEL=old" in warning or "/bin/sh" in warning}
    assert said - of_the_image == {warning for warnings in planned.values() for warning in warnings}
    assert debian.plan()["vm.web.work.patch"].warnings == ()


@pytest.mark.parametrize(
    ("form", "enlarged"),
    [("snapshot", "image.debian.rootfs"), ("raw", "vm.web.root"), ("overlay", "vm.web.root")],
)
def test_a_guest_that_is_full_is_told_what_to_enlarge(debian: Project, form: str, enlarged: str) -> None:
    declare(debian, form=form)
    debian.write(
        (debian.directory / "vm.toml").read_text().replace("[vm.web]", "overlay_init = true\n[vm.web]")
    )
    declared = manifest.load((debian.directory / "vm.toml",))
    (root,), (work,) = RootPatch.declare(declared), WorkPatch.declare(declared)
    for step, whose in ((root, enlarged), (work, "vm.web.work")):
        with (
            pytest.raises(FilesystemError, match=r"^full$") as blocks,
            step.telling_what_to_enlarge(),
        ):
            raise FilesystemError("full", code=BLOCK_ALLOC_FAIL)
        with pytest.raises(FilesystemError) as inodes, step.telling_what_to_enlarge():
            raise FilesystemError("full", code=INODE_ALLOC_FAIL)
        assert blocks.value.hint == f"make room in the guest, or enlarge the `size` of {whose}"
        assert inodes.value.hint == (
            f"remove files in the guest, or enlarge the `size` of {whose}: inodes grow with it"
        )
