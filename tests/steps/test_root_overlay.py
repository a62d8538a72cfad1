"""Roots that the guest joins with its image, through whole runs: made, patched, grown, replaced."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.formats import FORMATS
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.model import ReasonCode
from bangerbuild.tree import ALONE
from tests.disk.ext4_tools import assert_clean, debugfs
from tests.fakes import EPOCH
from tests.projects import codes
from tests.steps.guest_disks import IMAGE, MIB, PRECIOUS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.opened import OpenedDisk
    from tests.projects import Project

ROOT, PATCH, IMAGE_ID = "vm.web.root", "vm.web.root.patch", "image.debian.rootfs"
PROGRAMS = ("sh", "mount", "mkdir", "cat", "sleep", "pivot_root")
OVERLAY = FORMATS["overlay"]
WEB = """
[vm.web]
image = "debian"
root = {{ format = "{format}"{more} }}
{files}
"""
APP = '[[vm.web.file]]\nguest = "/etc/app.conf"\ncontent = "port = {port}\\n"\n'


def manifest(
    *, root: str = "overlay", more: str = "", port: int | None = 80, programs: tuple[str, ...] = PROGRAMS
) -> str:
    there = "".join(
        f'[[image.debian.file]]\nguest = "/bin/{name}"\ncontent = ""\nmode = "0755"\n' for name in programs
    )
    files = "" if port is None else APP.format(port=port)
    return f"{IMAGE}overlay_init = true\n{there}{WEB.format(format=root, more=more, files=files)}"


@pytest.fixture
def built(debian: Project) -> Project:
    debian.write(manifest())
    debian.build()
    return debian


def disk(project: Project) -> StoredDisk:
    artifact = "vms/web/root.upper.ext4"
    base = project.image()
    return StoredDisk(project.store / artifact, artifact, Base(base, str(base.relative_to(project.store))))


@contextmanager
def seen(project: Project) -> Iterator[OpenedDisk]:
    with OVERLAY.opened(disk(project), epoch=EPOCH, place=ALONE) as tree:
        yield tree


def guest_writes(project: Project) -> None:
    with OVERLAY.transaction(disk(project), ALONE, EPOCH) as tree:
        for path, content in PRECIOUS.items():
            tree.write_file(path, content)
        tree.write_file("/etc/app.conf", b"port = 81\n")
        tree.remove("/etc/fstab")


def assert_precious(project: Project) -> None:
    with seen(project) as tree:
        assert {path: tree.read(path) for path in PRECIOUS} == PRECIOUS


def upper(path: Path, guest: str) -> bytes:
    return debugfs(path, f"cat /upper{guest}")


def test_what_is_declared_lies_in_the_upper_tree_and_what_the_image_has_stays_below(built: Project) -> None:
    root = disk(built).path
    assert_clean(root)
    assert root.stat().st_blocks * 512 < 512 << 10
    assert upper(root, "/etc/app.conf") == b"port = 80\n"
    assert b"Type: character special" in debugfs(root, "stat /upper/etc/ssh/ssh_host_rsa_key")
    with seen(built) as tree:
        assert tree.read("/usr/sbin/sshd") == b"\x7fELF"
        assert tree.stat("/etc/ssh/ssh_host_rsa_key") is None
        fstab = (tree.read("/etc/fstab") or b"").decode()
        init = tree.stat("/sbin/bangerbuild-overlay-init")
    assert "# LABEL=old / ext4 defaults 0 1" in fstab
    assert init is not None
    assert init.mode == 0o755


def test_roots_of_one_image_differ_in_their_own_files_only_and_are_made_from_one_template(
    built: Project,
) -> None:
    text = (
        manifest()
        + '[vm.db]\nimage = "debian"\nroot.format = "overlay"\n'
        + APP.replace("web", "db").format(port=80)
    )
    built.write(text)
    built.build()
    one, other = (built.store / f"vms/{name}/root.upper.ext4" for name in ("web", "db"))
    assert_clean(other)
    assert (upper(one, "/etc/hostname"), upper(other, "/etc/hostname")) == (b"web\n", b"db\n")
    before = other.read_bytes()
    built.build(PATCH.replace("web", "db"))
    assert other.read_bytes() == before


def test_a_guests_changes_are_named_and_what_it_wrote_stays_when_it_is_patched(built: Project) -> None:
    guest_writes(built)
    planned = built.plan()
    assert planned[ROOT].verb.value == "keep"
    differing = {reason.facts["guest"] for reason in planned[PATCH].reasons}
    assert differing == {"/etc/app.conf", "/etc/fstab"}
    assert codes(planned[PATCH].reasons) == ["file-differs"] * 2
    built.build()
    assert_precious(built)
    assert upper(disk(built).path, "/etc/app.conf") == b"port = 80\n"
    assert_clean(disk(built).path)
    assert {action.verb.value for action in built.plan().values()} == {"keep"}


def test_a_file_that_is_no_longer_declared_is_the_images_again_or_gone(built: Project) -> None:
    guest_writes(built)
    built.write(manifest(port=None) + "[vm.web.guest]\nhostname = false\n")
    built.build()
    with seen(built) as tree:
        assert tree.read("/etc/hostname") == b"image\n"
        assert tree.read("/etc/app.conf") == b"port = 81\n"  # the guest changed it
    assert_precious(built)


def test_another_format_replaces_a_root_that_is_ours_and_not_a_guests(built: Project) -> None:
    for other in ("snapshot", "raw", "qcow2"):
        built.write(manifest(root=other))
        action = built.plan()[ROOT]
        assert action.verb.value == "replace"
        assert action.notes == ("root.upper.ext4 stays beside it until: bangerbuild gc",)
        built.build()
        built.write(manifest())
        assert built.plan()[ROOT].verb.value == "replace"
        built.build()
    guest_writes(built)
    built.write(manifest(root="raw"))
    action = built.plan()[ROOT]
    assert action.verb.value == "blocked"
    assert ReasonCode.GUEST_WROTE.value in codes(action.reasons)
    built.apply()
    assert_precious(built)


def test_a_guests_disk_grows_with_what_is_in_it(built: Project) -> None:
    guest_writes(built)
    built.write(manifest(more=', size = "1500MiB"'))
    assert built.plan()[ROOT].verb.value == "grow"
    built.build()
    assert disk(built).path.stat().st_size == 1500 * MIB
    assert_clean(disk(built).path)
    assert_precious(built)
    built.write(manifest(more=', size = "16MiB"'))
    assert built.plan()[ROOT].verb.value == "blocked"


def test_a_base_that_is_gone_is_made_again_under_what_its_guest_wrote(built: Project) -> None:
    guest_writes(built)
    built.image().unlink()
    built.write(manifest(port=90))
    planned = built.plan()
    assert (planned[IMAGE_ID].verb.value, planned[ROOT].verb.value) == ("create", "keep")
    built.build()
    assert_precious(built)
    assert_clean(disk(built).path)


def test_a_root_of_another_base_in_its_place_is_blocked_and_not_written(built: Project) -> None:
    guest_writes(built)
    more = '[image.other]\nrootfs.image = "debian"\nfile = [{ guest = "/etc/more", content = "" }]\n'
    more += '[vm.db]\nimage = "other"\nroot.format = "overlay"\n'
    built.write(manifest() + more)
    built.build()
    kept = disk(built).path.read_bytes()
    foreign = (built.store / "vms/db/root.upper.ext4").read_bytes()
    disk(built).path.write_bytes(foreign)
    built.write(manifest(port=90) + more)
    for step_id in (ROOT, PATCH):
        assert built.blocked(step_id)["code"] == "base-unknown"
    built.apply()
    assert disk(built).path.read_bytes() == foreign
    disk(built).path.write_bytes(kept)
    built.build()
    assert_precious(built)


def test_a_base_whose_bytes_somebody_changed_is_named(built: Project) -> None:
    guest_writes(built)
    image = built.image()
    image.chmod(0o644)
    image.write_bytes(image.read_bytes().replace(b"image\n", b"IMAGE\n"))
    action = built.plan()[IMAGE_ID]
    assert codes(action.reasons) == ["artifact-modified"]
    built.apply()
    assert_precious(built)
    assert_clean(disk(built).path)


def test_a_store_that_was_moved_is_as_good(built: Project) -> None:
    guest_writes(built)
    built.store.rename(built.directory / "elsewhere")
    built.write('[store]\npath = "elsewhere"\n' + manifest(port=90))
    planned = built.plan()
    assert (planned[ROOT].verb.value, planned[PATCH].verb.value) == ("keep", "update")
    built.build()
    (built.directory / "elsewhere").rename(built.store)
    assert_precious(built)
    assert_clean(disk(built).path)


def test_an_image_without_what_the_init_calls_is_an_error_that_names_it(debian: Project) -> None:
    debian.write(manifest(programs=tuple(name for name in PROGRAMS if name != "pivot_root")))
    error = debian.error(IMAGE_ID)
    assert "has no 'pivot_root', which overlay_init needs" in error.brief


def test_the_init_is_part_of_what_the_image_is(debian: Project) -> None:
    debian.write(manifest())
    with_init = debian.plan()[IMAGE_ID]
    debian.write(manifest(root="raw").replace("overlay_init = true\n", ""))
    assert debian.plan()[IMAGE_ID].fingerprint != with_init.fingerprint
    assert with_init.recipe.fields["rootfs.overlay_init"] is True
