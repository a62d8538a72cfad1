from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest, pipeline, report, store
from bangerbuild.commands import status
from bangerbuild.model import Outcome, ReasonCode, Verb
from bangerbuild.steps.work_disk import WorkDisk
from tests.disk.ext4_tools import assert_clean, change_superblock, make_ext4
from tests.manifests import KEY
from tests.need import lacking, need
from tests.projects import by_id, reasons
from tests.stats import stat_but_atime
from tests.steps.guest_disks import (
    GIB,
    IMAGE,
    MIB,
    allocated_bytes,
    as_guest,
    ext4_seed,
    filesystem_bytes,
    forget,
    label,
    precious,
    vm_disk,
    write_precious,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import CommandLine
    from tests.projects import Project

ID, PATCH, SEED = "vm.web.work", "vm.web.work.patch", "image.debian.work_seed"
SEEDED = f'{IMAGE}[image.debian.work_seed]\next4 = "skel.ext4"\n'
CONTENT = bytes(range(256)) * (8 * MIB // 256)


def web(work: str, more: str = "") -> str:
    return f'[vm.web]\nimage = "debian"\nwork = {work}\n{more}'


def sized(size: str) -> str:
    return IMAGE + web(f'{{ size = "{size}" }}')


def action(project: Project) -> tuple[str, list[str]]:
    """What is to be done about the work disk and why."""
    found = project.plan()[ID]
    return found.verb.value, [reason.code.value for reason in found.reasons]


@pytest.fixture
def seeded(debian: Project) -> Project:
    """A project with a seed of 64 MiB that holds 8."""
    ext4_seed(debian.directory / "skel.ext4", {"/content": CONTENT})
    return debian


# what is declared


def test_a_vm_has_a_work_disk_if_its_image_has_a_seed_or_a_size_is_given(seeded: Project) -> None:
    seeded.write(
        f'{SEEDED}[image.bare.rootfs]\ntar = "root.tar"\n'
        + "".join(
            f'[vm.{name}]\nimage = "{image}"\n{work}\n'
            for name, image, work in (
                ("seed", "debian", ""),
                ("grown", "debian", 'work.size = "1GiB"'),
                ("empty", "bare", 'work.size = "1GiB"'),
                ("none", "bare", ""),
                ("refused", "debian", "work = false"),
            )
        )
    )
    steps = WorkDisk.declare(manifest.load((seeded.directory / "vm.toml",)))
    assert [(step.id, step.inputs, step.outputs, step.size_bytes) for step in steps] == [
        ("vm.seed.work", (SEED,), ("vms/seed/work.ext4",), None),
        ("vm.grown.work", (f"{SEED}@1GiB",), ("vms/grown/work.ext4",), GIB),
        ("vm.empty.work", (), ("vms/empty/work.ext4",), GIB),
    ]


# made of a seed


def test_a_work_disk_is_its_seed_byte_for_byte(seeded: Project) -> None:
    seeded.write(SEEDED + web("{}"))
    seeded.build()
    (seed,) = seeded.store.glob("images/*/*/work-seed.ext4")
    assert vm_disk(seeded, "work").path.read_bytes() == seed.read_bytes()
    assert label(vm_disk(seeded, "work").path) == "work"


def test_a_large_work_disk_costs_what_its_seed_holds(seeded: Project) -> None:
    seeded.write(SEEDED + web('{ size = "16GiB" }'))
    seeded.build()
    work = vm_disk(seeded, "work")
    work.assert_clean()
    (seed,) = seeded.store.glob("images/*/*/work-seed.ext4")
    assert filesystem_bytes(work.path) == work.path.stat().st_size == 16 * GIB
    assert work.read("/content") == CONTENT
    assert allocated_bytes(work.path) <= 2 * allocated_bytes(seed)


def test_the_vms_that_want_one_size_share_a_seed_that_is_grown_once(seeded: Project) -> None:
    vms = "".join(f'[vm.{name}]\nimage = "debian"\nwork.size = "2GiB"\n' for name in ("web", "db", "ci"))
    seeded.write(SEEDED + vms)
    assert [step_id for step_id in seeded.plan() if "@" in step_id] == [f"{SEED}@2GiB"]
    seeded.build()
    assert len(list(seeded.store.glob("images/*/*/work-seed@*"))) == 1
    before = [path.read_bytes()[:MIB] for path in seeded.store.glob("images/*/*/work-seed*")]
    write_precious(vm_disk(seeded, "work").path)
    for vm in ("db", "ci"):
        assert not vm_disk(seeded, "work", vm).exists("/precious")
    assert [path.read_bytes()[:MIB] for path in seeded.store.glob("images/*/*/work-seed*")] == before


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("source", [SEEDED, IMAGE], ids=["seeded", "empty"])
def test_a_work_disk_is_its_owners_alone_whatever_the_umask(seeded: Project, umask: int, source: str) -> None:
    before = os.umask(umask)
    try:
        seeded.write(source + web('{ size = "64MiB" }'))
        seeded.build()
    finally:
        os.umask(before)
    assert vm_disk(seeded, "work").path.stat().st_mode & 0o7777 == 0o600


def test_a_filesystem_that_cannot_share_blocks_is_spoken_of_once(seeded: Project) -> None:
    vms = "".join(f'[vm.{name}]\nimage = "debian"\nroot.format = "raw"\n' for name in ("web", "db"))
    seeded.write(SEEDED + vms)
    seeded.build()
    assert len([text for text in seeded.warnings if "can't share blocks" in text]) in {0, 1}


@pytest.mark.parametrize("size", ["128MiB", "63MiB"])
def test_a_size_below_the_seeds_is_an_error_of_the_manifest(
    seeded: Project, cli: CommandLine, size: str
) -> None:
    ext4_seed(seeded.directory / "skel.ext4", {}, size="256M")
    seeded.write(SEEDED + web(f'{{ size = "{size}" }}'))
    done = cli("apply", cwd=seeded.directory)
    assert done.returncode == 3
    assert f"size is '{size}', smaller than the work_seed of image 'debian': 256MiB" in done.stderr
    assert not seeded.store.exists()


# made empty


@pytest.mark.parametrize(("mount", "mode"), [("/root", "0700"), ("/srv", "0755")])
def test_an_empty_work_disk_belongs_to_root(debian: Project, mount: str, mode: str) -> None:
    debian.write(IMAGE + web(f'{{ size = "1GiB", mount = "{mount}" }}'))
    debian.build()
    work = vm_disk(debian, "work")
    work.assert_clean()
    assert (work.stat("/").owner, work.stat("/").mode) == ("0:0", mode)
    assert work.names("/") == {"lost+found"}
    assert label(work.path) == "work"
    assert filesystem_bytes(work.path) == GIB


def test_an_empty_work_disk_takes_next_to_no_room(debian: Project) -> None:
    debian.write(sized("16GiB"))
    debian.build()
    work = vm_disk(debian, "work")
    work.assert_clean()
    assert filesystem_bytes(work.path) == 16 * GIB
    assert allocated_bytes(work.path) < 5 * MIB


def test_the_same_manifest_gives_the_same_empty_disk(debian: Project) -> None:
    debian.write(sized("64MiB"))
    debian.build()
    before = vm_disk(debian, "work").path.read_bytes()
    vm_disk(debian, "work").path.unlink()
    assert action(debian) == ("blocked", ["disk-gone"])
    assert debian.blocked(PATCH)["path"] == "vms/web/work.ext4"
    assert not vm_disk(debian, "work").path.exists()
    debian.build(ID)
    assert vm_disk(debian, "work").path.read_bytes() == before


# what a guest wrote


def test_what_a_guest_wrote_survives_every_change_of_the_manifest(seeded: Project) -> None:
    key = f'ssh_authorized_keys = ["{KEY}"]\n'
    file = '[[vm.web.file]]\nguest = "~/.profile"\ncontent = "umask 077"\n'
    seeded.write(SEEDED + web("{}"))
    seeded.build()
    before = write_precious(vm_disk(seeded, "work").path)
    for work, more in (
        ("{}", key),
        ("{}", key + file),
        ('{ size = "128MiB" }', file),
        ('{ size = "1GiB" }', key),
        ('{ size = "1GiB" }', 'root.format = "raw"\n' + file),
    ):
        seeded.write(SEEDED + web(work, more))
        seeded.build()
        assert precious(vm_disk(seeded, "work").path) == before


def test_a_larger_size_grows_the_disk_and_keeps_what_is_in_it(seeded: Project) -> None:
    seeded.write(SEEDED + web('{ size = "64MiB" }'))
    seeded.build()
    before = write_precious(vm_disk(seeded, "work").path)
    seeded.write(SEEDED + web('{ size = "3GiB" }'))
    planned = seeded.plan()
    assert reasons(planned[ID]) == [{"code": "size-grow", "old": 64 * MIB, "new": 3 * GIB}]
    assert planned[PATCH].verb is Verb.KEEP
    seeded.build()
    work = vm_disk(seeded, "work")
    assert precious(work.path) == before
    assert filesystem_bytes(work.path) == work.path.stat().st_size == 3 * GIB
    assert work.read("/content") == CONTENT
    assert action(seeded) == ("keep", [])


def test_a_smaller_size_is_blocked_and_the_disk_still_patched(seeded: Project) -> None:
    seeded.write(SEEDED + web('{ size = "1GiB" }'))
    seeded.build()
    before = write_precious(vm_disk(seeded, "work").path)
    seeded.write(SEEDED + web('{ size = "512MiB" }', f'ssh_authorized_keys = ["{KEY}"]\n'))
    assert reasons(seeded.plan()[ID]) == [{"code": "size-shrink", "old": GIB, "new": 512 * MIB}]
    assert seeded.apply()[PATCH].outcome is Outcome.DONE
    work = vm_disk(seeded, "work")
    assert precious(work.path) == before
    assert filesystem_bytes(work.path) == GIB
    assert work.text("/.ssh/authorized_keys") == f"{KEY}\n"
    assert action(seeded) == ("blocked", ["size-shrink"])


def test_a_blocked_disk_is_made_anew_only_if_that_is_asked_for(seeded: Project) -> None:
    seeded.write(SEEDED + web('{ size = "1GiB" }'))
    seeded.build()
    write_precious(vm_disk(seeded, "work").path)
    seeded.write(SEEDED + web('{ size = "512MiB" }', f'ssh_authorized_keys = ["{KEY}"]\n'))
    seeded.build(ID)
    work = vm_disk(seeded, "work")
    work.assert_clean()
    assert not work.exists("/precious")
    assert work.text("/.ssh/authorized_keys") == f"{KEY}\n"
    assert filesystem_bytes(work.path) == 512 * MIB


def test_a_new_seed_shapes_new_work_disks_only(seeded: Project) -> None:
    seeded.write(SEEDED + web('{ size = "1GiB" }'))
    seeded.build()
    old = vm_disk(seeded, "work").path
    before = (old.stat().st_ino, old.stat().st_mtime_ns)
    ext4_seed(seeded.directory / "skel.ext4", {"/new": b"new\n"})
    seeded.write(SEEDED + web('{ size = "1GiB" }') + '[vm.db]\nimage = "debian"\nwork.size = "1GiB"\n')
    assert action(seeded) == ("keep", [])
    seeded.build()
    assert (old.stat().st_ino, old.stat().st_mtime_ns) == before
    assert vm_disk(seeded, "work").read("/content") == CONTENT
    assert vm_disk(seeded, "work", "db").text("/new") == "new\n"
    assert action(seeded) == ("keep", [])


def test_a_disk_that_its_manifest_no_longer_names_stays_and_is_taken_up_again(seeded: Project) -> None:
    seeded.write(SEEDED + web("{}"))
    seeded.build()
    before = write_precious(vm_disk(seeded, "work").path)
    seeded.write(SEEDED + web("false"))
    seeded.build()
    assert precious(vm_disk(seeded, "work").path) == before
    seeded.write(SEEDED + web("{}"))
    assert action(seeded) == ("keep", [])


# a disk that no record knows


def adoptable(project: Project, **options: str) -> Path:
    """A disk where the VM's work disk belongs; what its owner wrote is on it."""
    path = project.store / "vms/web/work.ext4"
    path.parent.mkdir(parents=True)
    make_ext4(path, "-L", options.get("label", "mine"), size=options.get("size", "64M"))
    return path


def test_a_disk_that_no_record_knows_is_adopted_with_all_that_is_in_it(seeded: Project) -> None:
    before = write_precious(adoptable(seeded))
    seeded.write(SEEDED + web('{ size = "64MiB" }', f'ssh_authorized_keys = ["{KEY}"]\n'))
    planned = seeded.plan()
    assert (planned[ID].verb, planned[PATCH].verb) == (Verb.ADOPT, Verb.UPDATE)
    seeded.build()
    work = vm_disk(seeded, "work")
    assert precious(work.path) == before
    assert work.text("/.ssh/authorized_keys") == f"{KEY}\n"
    assert not work.exists("/content")
    assert action(seeded) == ("keep", [])


def test_an_adopted_disk_gets_the_label_that_fstab_mounts_it_by(seeded: Project) -> None:
    path = adoptable(seeded, label="old")
    seeded.write(SEEDED + web('{ size = "64MiB" }'))
    seeded.build()
    assert label(path) == "work"
    vm_disk(seeded, "work").assert_clean()


def test_an_adopted_disk_is_grown_to_its_declared_size(debian: Project) -> None:
    before = write_precious(adoptable(debian))
    debian.write(sized("256MiB"))
    assert action(debian) == ("adopt", ["missing", "size-grow"])
    debian.build()
    work = vm_disk(debian, "work")
    assert precious(work.path) == before
    assert filesystem_bytes(work.path) == 256 * MIB


def test_a_lost_record_makes_no_disk_anew(seeded: Project) -> None:
    seeded.write(SEEDED + web('{ size = "1GiB" }', f'ssh_authorized_keys = ["{KEY}"]\n'))
    seeded.build()
    before = write_precious(vm_disk(seeded, "work").path)
    forget(seeded)
    assert action(seeded)[0] == "adopt"
    seeded.apply()
    assert precious(vm_disk(seeded, "work").path) == before
    assert action(seeded) == ("keep", [])


@pytest.mark.parametrize("seen", [False, True], ids=["at once", "after a look at what is on it"])
def test_a_smaller_disk_that_was_put_back_is_grown_to_its_declared_size(
    debian: Project, *, seen: bool
) -> None:
    """As of a backup."""
    debian.write(sized("64MiB"))
    debian.build()
    path = vm_disk(debian, "work").path
    write_precious(make_ext4(path, "-L", "work", size="32M"))
    before = precious(path)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    if seen:  # what is on it is as declared, so that nobody would look again
        with store.writing(debian.store, timeout_seconds=0) as opened:
            opened.record_inspected("vms/web/work.ext4", path.stat())
            opened.flush()
    assert action(debian) == ("grow", ["size-grow"])
    debian.build()
    assert filesystem_bytes(path) == 64 * MIB
    assert precious(path) == before
    assert action(debian) == ("keep", [])


@pytest.mark.parametrize("size", ["64MiB", None])
def test_a_disk_that_was_cut_short_is_blocked_and_left_as_it_is(seeded: Project, size: str | None) -> None:
    seeded.write(SEEDED + web(f'{{ size = "{size}" }}' if size else '{ mount = "/root" }'))
    seeded.build()
    path = vm_disk(seeded, "work").path
    os.truncate(path, 32 * MIB)
    found = seeded.plan()[ID]
    assert (found.verb, [reason.code for reason in found.reasons]) == (
        Verb.BLOCKED,
        [ReasonCode.ARTIFACT_MODIFIED],
    )
    assert str(found.reasons[0].facts["error"]).startswith("'vms/web/work.ext4' is cut short")
    assert {result.error for result in seeded.apply().values()} == {None}
    assert path.stat().st_size == 32 * MIB
    seeded.build(ID)
    assert action(seeded) == ("keep", [])


def test_a_disk_with_errors_is_kept_as_long_as_nothing_is_to_be_done_to_it(debian: Project) -> None:
    debian.write(sized("64MiB"))
    debian.build()
    path = vm_disk(debian, "work").path
    change_superblock(path, state=2)
    assert action(debian) == ("keep", ["artifact-modified"])
    debian.write(sized("128MiB"))
    found = debian.plan()[ID]
    assert (found.verb, found.reasons[-1].facts["hint"]) == (Verb.BLOCKED, f"e2fsck -f '{path}'")
    assert {result.error for result in debian.apply().values()} == {None}


# what lies beside a disk and is none of ours

DB = '[vm.db]\nimage = "debian"\nwork = { size = "64MiB" }\n'
DB_NOTE = '[[vm.db.file]]\nguest = "/etc/note"\ncontent = "new\\n"\n'


@pytest.mark.parametrize("kind", ["nonsense", "fifo", "directory", "nowhere"])
@pytest.mark.parametrize("suffix", ["grow", "undo", "redo"])
def test_what_lies_beside_a_disk_and_is_no_file_of_ours_stops_that_disk_alone(
    debian: Project, suffix: str, kind: str
) -> None:
    """A FIFO would make whoever opens it wait for ever."""
    debian.write(sized("64MiB") + DB)
    debian.build()
    path = vm_disk(debian, "work").path
    beside = path.with_name(f"{path.name}.{suffix}")
    if suffix == "undo":
        path.with_name(f"{path.name}.grow").write_text(f"{64 * MIB}\n")
    make: dict[str, Callable[[], object]] = {
        "nonsense": lambda: beside.write_text("abc\n" * 200),
        "fifo": lambda: os.mkfifo(beside),
        "directory": beside.mkdir,
        "nowhere": lambda: beside.symlink_to("nowhere"),
    }
    make[kind]()
    os.utime(path)
    debian.write(sized("64MiB") + '[[vm.web.file]]\nguest = "~/note"\ncontent = "new\\n"\n' + DB + DB_NOTE)
    before = path.read_bytes()
    states = {
        one.path: one.state
        for one in status.examine(
            *pipeline.look(pipeline.load_request(debian.request(), debian.warnings.append))
        )
    }
    assert states["vms/web/work.ext4"] in {"stale", "blocked"}
    assert states["vms/db/root.cow"] == "stale"
    results = debian.apply()
    assert results["vm.db.root.patch"].outcome is Outcome.DONE
    assert results["vm.db.root.patch"].error is None
    assert path.read_bytes() == before or results[PATCH].outcome is Outcome.DONE


# what lies in the place of a disk and is none


@pytest.mark.parametrize("recorded", [False, True], ids=["a new VM", "a known disk"])
@pytest.mark.parametrize("kind", ["nowhere", "device", "directory", "fifo"])
@pytest.mark.parametrize("replaced", [(), (ID,)], ids=["apply", "--replace"])
def test_what_is_no_disk_is_never_replaced(
    debian: Project, kind: str, replaced: tuple[str, ...], *, recorded: bool
) -> None:
    """A symlink may lead to a drive that is not mounted now."""
    debian.write(sized("64MiB"))
    if recorded:
        debian.build()
    path = debian.store / "vms/web/work.ext4"
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    drive = debian.directory / "drive"
    make: dict[str, Callable[[], None]] = {
        "nowhere": lambda: path.symlink_to(drive / "work.ext4"),
        "device": lambda: path.symlink_to("/dev/null"),
        "directory": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }
    make[kind]()
    before = stat_but_atime(path)
    says = {
        "nowhere": f"'{path}' is a symlink to '{drive}/work.ext4', which is not there",
        "device": f"'{path}' is a symlink to '/dev/null', which is no file",
        "directory": f"'{path}' is a directory",
        "fifo": f"'{path}' is no regular file",
    }[kind]
    found = by_id(pipeline.plan(pipeline.load_request(debian.request(*replaced), debian.warnings.append)))
    assert [(found[step].verb, report.reason(found[step].reasons[0])) for step in (ID, PATCH)] == [
        (Verb.BLOCKED, says)
    ] * 2
    assert report.way_out(found[ID]) == "move it away, or mount what it leads to"
    assert {result.error for result in debian.apply(*replaced).values()} == {None}
    assert stat_but_atime(path) == before
    path.rmdir() if kind == "directory" else path.unlink()
    debian.build(*((ID,) if recorded else ()))
    assert action(debian) == ("keep", [])


def test_a_disk_behind_a_symlink_is_the_disk(debian: Project) -> None:
    debian.write(sized("64MiB"))
    debian.build()
    path, drive = debian.store / "vms/web/work.ext4", debian.directory / "drive.ext4"
    path.rename(drive)
    path.symlink_to(drive)
    assert action(debian) == ("keep", [])


def test_a_disk_larger_than_declared_is_not_adopted(debian: Project) -> None:
    path = adoptable(debian, size="128M")
    before = path.read_bytes()
    debian.write(sized("64MiB"))
    assert action(debian) == ("blocked", ["missing", "size-shrink"])
    assert {result.error for result in debian.apply().values()} == {None}
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no ext4 filesystem: it is empty"),
        (b"\x1f\x8b" + bytes(4096), "holds no ext4 filesystem: it looks like a gzip stream"),
        (bytes(MIB), "holds no ext4 filesystem: it begins with zeros"),
    ],
)
def test_what_is_no_disk_is_not_adopted_and_stays_as_it_is(
    debian: Project, content: bytes, said: str
) -> None:
    path = debian.store / "vms/web/work.ext4"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    debian.write(sized("64MiB"))
    action = debian.plan()[ID]
    assert action.verb is Verb.BLOCKED
    assert action.reasons[0].facts["error"] == f"'vms/web/work.ext4' {said}"
    assert debian.apply()[ID].outcome is Outcome.SKIPPED
    assert path.read_bytes() == content


def test_a_disk_marked_with_errors_is_not_adopted_and_the_way_out_is_named(debian: Project) -> None:
    path = adoptable(debian)
    change_superblock(path, state=2)
    before = path.read_bytes()
    debian.write(sized("64MiB"))
    action = debian.plan()[ID]
    assert (action.verb, action.reasons[0].code.value) == (Verb.BLOCKED, "artifact-modified")
    assert action.reasons[0].facts["error"] == "'vms/web/work.ext4' is marked as having errors"
    assert action.reasons[0].facts["hint"] == f"e2fsck -f '{path}'"
    debian.apply()
    assert path.read_bytes() == before


# a disk in use, a full disk, a disk without holes


def test_a_disk_in_use_that_needs_nothing_is_kept(seeded: Project, cli: CommandLine) -> None:
    seeded.write(SEEDED + web('{ size = "1GiB" }'))
    seeded.build()
    with vm_disk(seeded, "work").path.open("r+b"):
        done = cli("apply", cwd=seeded.directory)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("work", "more", "waiting"),
    [
        ('{ size = "2GiB" }', "", {ID}),
        ('{ size = "1GiB" }', f'ssh_authorized_keys = ["{KEY}"]\n', {PATCH}),
        ('{ size = "2GiB" }', f'ssh_authorized_keys = ["{KEY}"]\n', {ID, PATCH}),
    ],
    ids=["grow", "patch", "both"],
)
def test_a_disk_in_use_is_neither_read_nor_written_and_the_rest_is_done(
    seeded: Project, cli: CommandLine, work: str, more: str, waiting: set[str]
) -> None:
    seeded.write(SEEDED + web('{ size = "1GiB" }'))
    seeded.build()
    path = vm_disk(seeded, "work").path
    before = write_precious(path)
    status = path.stat()
    seeded.write(SEEDED + web(work, f'hostname = "renamed"\n{more}'))
    with path.open("r+b"):
        planned = seeded.plan()
        done = cli("apply", cwd=seeded.directory)
    in_use = {step_id for step_id, found in planned.items() if found.in_use}
    assert in_use == waiting
    assert done.returncode == 4, done.stderr
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert seeded.guest().text("/etc/hostname") == "renamed\n"
    assert cli("apply", cwd=seeded.directory).returncode == 0
    assert precious(path) == before


@pytest.fixture
def small_filesystem(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 24 MiB, which root may mount."""
    yield from _mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=24M", "none")


@pytest.fixture
def filesystem_without_holes(tmp_path: Path) -> Iterator[Path]:
    """One that says of every hole that it is data, as FAT does; ramfs fills it, when it is copied, too."""
    yield from _mounted(tmp_path / "holeless", "-t", "ramfs", "none")


def _mounted(directory: Path, *options: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        lacking("only root mounts filesystems")
    directory.mkdir()
    subprocess.run([need("mount"), *options, str(directory)], check=True)
    yield directory
    subprocess.run([need("umount", "mount"), str(directory)], check=True)


@pytest.mark.root
def test_a_disk_that_is_full_in_the_middle_of_a_clone_is_one_plain_message(
    seeded: Project, cli: CommandLine, small_filesystem: Path
) -> None:
    seeded.write(SEEDED + web("{}") + '[vm.db]\nimage = "debian"\n[vm.ci]\nimage = "debian"\n')
    done = cli("apply", "-q", "-j1", "--store", small_filesystem / "build", cwd=seeded.directory)
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning:")]
    assert done.returncode == 1
    assert said == [
        "vm.db.work failed:",
        f"  error: '{small_filesystem}/build': no space left on device",
        "    hint: free some space there, or choose another place: --store DIR",
    ]
    (made,) = small_filesystem.glob("build/vms/*/work.ext4")
    assert made.parent.name == "web"
    assert not list(small_filesystem.glob("build/.staging/*"))
    assert_clean(made)


@pytest.mark.root
def test_a_store_that_can_hold_no_holes_is_spoken_of_once_and_works(
    seeded: Project, cli: CommandLine, filesystem_without_holes: Path
) -> None:
    seeded.write(SEEDED + web('{ size = "96MiB" }'))
    done = cli("apply", "-q", "--store", filesystem_without_holes / "build", cwd=seeded.directory)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("can't keep holes in files") == 1
    assert_clean(filesystem_without_holes / "build/vms/web/work.ext4")


# what is remembered


def test_a_grown_disk_stands_on_the_seed_it_was_made_from(seeded: Project) -> None:
    seeded.write(SEEDED + web('{ size = "1GiB" }'))
    seeded.build()
    before = store.read(seeded.store).records[ID]
    seeded.write(SEEDED + web('{ size = "2GiB" }'))
    seeded.build()
    after = store.read(seeded.store).records[ID]
    assert after.recipe.inputs == before.recipe.inputs
    assert after.facts == {"format": "raw", "file_bytes": 2 * GIB}


def test_what_is_written_by_hand_is_the_guests_too(seeded: Project) -> None:
    """Whoever wrote it: a work disk is never made anew by itself."""
    seeded.write(SEEDED + web("{}"))
    seeded.build()
    with as_guest(vm_disk(seeded, "work").path) as disk:
        disk.remove("/content")
    seeded.write(SEEDED + web("{}", f'ssh_authorized_keys = ["{KEY}"]\n'))
    seeded.build()
    assert not vm_disk(seeded, "work").exists("/content")
