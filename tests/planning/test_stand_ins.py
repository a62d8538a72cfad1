from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bangerbuild import graph, pipeline, store
from bangerbuild.commands import gc, recover
from bangerbuild.disk.formats import RAW
from bangerbuild.disk.formats.values import StoredDisk
from bangerbuild.launch import machine
from bangerbuild.model import ReasonCode, Verb
from bangerbuild.planning.recorded import Recorded
from bangerbuild.steps import launch, startable
from bangerbuild.tree import ALONE
from tests.fakes import EPOCH
from tests.kernel.making import elf
from tests.projects import DEBIAN, Project, codes, write_tar
from tests.stores import lose_records

IMAGE = """\
[image.debian]
kernel = { guest = "/boot/vmlinuz-*" }
cmdline = "console=ttyS0"
rootfs = { tar = "root.tar", size = "24MiB" }
"""
INITRD = 'initrd = { guest = "/boot/initrd.img-*" }\n'
WEB = '[vm.web]\nimage = "debian"\nwork = false\n'
KEEP = '[vm.web.root]\non_new_base = "keep"\n'
AS_RAW = '[vm.web.root]\nformat = "raw"\n'


def write_image(project: Project, release: str) -> None:
    """The image's tarball, with the kernel and the initrd of a release."""
    boot: dict[str, str | bytes] = {
        f"boot/vmlinuz-{release}": elf(release=release),
        f"boot/initrd.img-{release}": b"070701" + release.encode().ljust(512, b"\0"),
    }
    write_tar(project.directory / "root.tar", {**DEBIAN, **boot})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A VM whose image brings kernel 6.1.0, which is built."""
    made = Project(tmp_path)
    write_image(made, "6.1.0")
    made.write(IMAGE.replace("cmdline", f"{INITRD}cmdline") + WEB + KEEP)
    made.build()
    return made


def booted(project: Project) -> tuple[bytes, bytes]:
    """The releases of the kernel and the initrd that the launch files name."""
    directory = project.store / "vms/web"
    boot = json.loads((directory / "firecracker.json").read_text())["boot-source"]
    kernel, initrd = ((directory / boot[key]).read_bytes() for key in ("kernel_image_path", "initrd_path"))
    return kernel.split(b"Linux version ")[1].split(b" ")[0], initrd[6:11]


def booted_kernel(project: Project) -> bytes:
    """The kernel that the launch files name."""
    directory = project.store / "vms/web"
    boot = json.loads((directory / "firecracker.json").read_text())["boot-source"]
    return Path(directory, boot["kernel_image_path"]).read_bytes()


def collected(project: Project) -> list[str]:
    _, wastes = gc.collect(project.request(), project.warnings.append, dry_run=False, lock_seconds=0)
    return [waste.path for waste in wastes]


def guest_writes(project: Project) -> None:
    with project.as_guest() as root:
        root.write_file("/precious", b"a guest's")


class TestARootThatStaysOnItsImage:
    """Its modules are those of its image."""

    @pytest.mark.parametrize("policy", [KEEP, "", AS_RAW], ids=["keep", "block", "raw"])
    def test_it_starts_with_the_kernel_and_the_initrd_of_that_image(
        self, project: Project, policy: str
    ) -> None:
        project.write((project.directory / "vm.toml").read_text().replace(KEEP, policy))
        project.build()
        if policy == AS_RAW:
            disk = project.store / "vms/web/root.ext4"
            disk.write_bytes(disk.read_bytes() + bytes(4096))
        else:
            guest_writes(project)
        write_image(project, "6.9.9")
        project.apply()
        assert booted(project) == (b"6.1.0", b"6.1.0")
        assert b"6.9.9" in project.artifact("image.debian.kernel", 1).read_bytes()
        assert project.plan()["vm.web.launch"].verb is Verb.KEEP

    def test_gc_leaves_it_what_it_starts_with(self, project: Project) -> None:
        guest_writes(project)
        write_image(project, "6.9.9")
        project.apply()
        (project.store / "vms/web/firecracker.json").unlink()
        assert collected(project) == []
        project.build()
        assert booted(project) == (b"6.1.0", b"6.1.0")

    def test_the_command_line_is_todays(self, project: Project) -> None:
        guest_writes(project)
        write_image(project, "6.9.9")
        text = (project.directory / "vm.toml").read_text()
        project.write(text.replace("console=ttyS0", "console=hvc0"))
        project.build()
        assert booted(project) == (b"6.1.0", b"6.1.0")
        assert "console=hvc0" in (project.store / "vms/web/firecracker.json").read_text()

    def test_a_kernel_from_elsewhere_is_todays(self, project: Project) -> None:
        guest_writes(project)
        write_image(project, "6.9.9")
        (project.directory / "vmlinuz").write_bytes(elf(release="6.12.0"))
        text = (project.directory / "vm.toml").read_text()
        project.write(text.replace('{ guest = "/boot/vmlinuz-*" }', '"vmlinuz"'))
        project.build()
        assert booted(project) == (b"6.12.0", b"6.1.0")

    def test_of_two_kernels_of_one_image_it_takes_that_of_todays_pattern(self, project: Project) -> None:
        text = (project.directory / "vm.toml").read_text()
        write_tar(
            project.directory / "root.tar",
            {
                **DEBIAN,
                "boot/vmlinuz-6.1.0": elf(release="6.1.0"),
                "boot/vmlinuz-5.1.0": elf(release="5.1.0"),
                "boot/initrd.img-6.1.0": b"070701" + b"6.1.0".ljust(512, b"\0"),
                "boot/initrd.img-5.1.0": b"070701" + b"5.1.0".ljust(512, b"\0"),
            },
        )
        project.build()
        project.write(text.replace("vmlinuz-*", "vmlinuz-5*"))
        project.build()
        guest_writes(project)
        write_image(project, "5.9.9")
        project.build()
        assert booted(project) == (b"5.1.0", b"5.1.0")

    def test_one_that_moved_to_another_image_keeps_the_kernel_of_its_own(self, project: Project) -> None:
        guest_writes(project)
        text = (project.directory / "vm.toml").read_text()
        project.write(text + IMAGE.replace("debian", "other").replace("24MiB", "25MiB"))
        project.write(
            (project.directory / "vm.toml").read_text().replace('image = "debian"', 'image = "other"')
        )
        project.apply()
        assert b"6.1.0" in booted_kernel(project)
        assert "images/debian" in (project.store / "vms/web/firecracker.json").read_text()

    def test_a_kernel_that_is_no_longer_there_is_taken_out_of_its_image_again(self, project: Project) -> None:
        guest_writes(project)
        write_image(project, "6.9.9")
        project.build()
        before = tree(project)
        (kernel,) = (
            one for one in project.store.glob("images/debian/*/vmlinuz") if b"6.1.0" in one.read_bytes()
        )
        shutil.rmtree(kernel.parent)
        found = project.plan()
        again = f"image.debian.kernel@{kernel.parent.name}"
        assert {key for key, one in found.items() if one.pending} == {again}
        assert (found[again].verb, codes(found[again].reasons)) == (Verb.CREATE, ["missing"])
        project.build()
        assert tree(project) == before
        assert booted(project) == (b"6.1.0", b"6.1.0")
        assert all(one.verb in {Verb.KEEP, Verb.BLOCKED} for one in project.plan().values())
        assert collected(project) == []

    def test_one_that_only_now_is_declared_is_taken_out_of_its_image(self, project: Project) -> None:
        text = (project.directory / "vm.toml").read_text()
        project.write(text.replace(INITRD, ""))
        project.build("vm.web.root")
        shutil.rmtree(next(project.store.glob("images/debian/*/initrd.img")).parent)
        guest_writes(project)
        write_image(project, "6.9.9")
        project.write(text)
        project.build()
        assert booted(project) == (b"6.1.0", b"6.1.0")

    def test_where_its_image_has_none_its_files_stay_and_the_way_out_is_named(self, project: Project) -> None:
        guest_writes(project)
        before = (project.store / "vms/web/firecracker.json").read_bytes()
        (kernel,) = project.store.glob("images/debian/*/vmlinuz")
        shutil.rmtree(kernel.parent)
        write_image(project, "6.9.9")
        text = (project.directory / "vm.toml").read_text()
        project.write(text.replace("/boot/vmlinuz-*", "/boot/vmlinuz-6.9*"))
        project.apply()
        found = project.plan()["vm.web.launch"]
        assert (found.verb, codes(found.reasons)) == (Verb.BLOCKED, [ReasonCode.WOULD_FAIL.value])
        assert "no kernel matches '/boot/vmlinuz-6.9*'" in str(found.reasons[0].facts["message"])
        assert (project.store / "vms/web/firecracker.json").read_bytes() == before
        project.build("vm.web.root")
        assert booted(project) == (b"6.9.9", b"6.9.9")

    def test_its_initrd_stays_where_its_image_drops_its_own(self, project: Project) -> None:
        guest_writes(project)
        write_image(project, "6.9.9")
        project.write((project.directory / "vm.toml").read_text().replace(INITRD, ""))
        found = project.plan()["vm.web.launch"]
        assert (found.verb, found.reasons) == (Verb.KEEP, ())
        project.build()
        assert booted(project) == (b"6.1.0", b"6.1.0")
        (project.store / "vms/web/firecracker.json").unlink()
        assert collected(project) == []
        project.build()
        assert booted(project) == (b"6.1.0", b"6.1.0")

    def test_its_kernel_stays_where_its_image_drops_its_own(self, project: Project) -> None:
        guest_writes(project)
        write_image(project, "6.9.9")
        text = (project.directory / "vm.toml").read_text()
        project.write(text.replace(INITRD, "").replace('kernel = { guest = "/boot/vmlinuz-*" }\n', ""))
        assert project.plan()["vm.web.launch"].verb is Verb.KEEP
        project.build()
        assert booted(project) == (b"6.1.0", b"6.1.0")
        for name in ("firecracker.json", "qemu.sh", "cloud-hypervisor.sh"):
            (project.store / "vms/web" / name).unlink()
        assert collected(project) == []
        project.build()
        assert booted(project) == (b"6.1.0", b"6.1.0")

    @pytest.mark.parametrize("policy", [KEEP, ""], ids=["keep", "block"])
    @pytest.mark.parametrize(
        "others", ['kernel = { guest = "/boot/vmlinuz-*" }\n', ""], ids=["kernel", "none"]
    )
    def test_its_initrd_stays_where_it_moved_to_an_image_without_one(
        self, project: Project, policy: str, others: str
    ) -> None:
        guest_writes(project)
        text = (project.directory / "vm.toml").read_text().replace(KEEP, policy)
        other = f'[image.other]\n{others}rootfs = {{ tar = "root.tar", size = "25MiB" }}\n'
        project.write(text.replace('image = "debian"', 'image = "other"') + other)
        project.apply()
        assert booted(project) == (b"6.1.0", b"6.1.0")
        project.write(other + WEB.replace("debian", "other") + policy)
        project.apply()
        assert booted(project) == (b"6.1.0", b"6.1.0")
        (project.store / "vms/web/firecracker.json").unlink()
        assert [one for one in collected(project) if "images/debian" in one] == []
        project.apply()
        assert booted(project) == (b"6.1.0", b"6.1.0")

    def test_what_its_image_never_had_it_does_not_ask_for(self, project: Project) -> None:
        boot = {"boot/vmlinuz-6.1.0": elf(release="6.1.0")}
        write_tar(project.directory / "root.tar", {**DEBIAN, **boot})
        text = (project.directory / "vm.toml").read_text()
        project.write(text.replace(INITRD, ""))
        project.build()
        guest_writes(project)
        write_image(project, "6.9.9")
        project.write(text)
        project.build()
        assert "initrd_path" not in (project.store / "vms/web/firecracker.json").read_text()
        assert project.plan()["vm.web.launch"].verb is Verb.KEEP

    def test_boot_starts_it_as_its_launch_files_do(self, project: Project) -> None:
        guest_writes(project)
        write_image(project, "6.9.9")
        project.write((project.directory / "vm.toml").read_text().replace(INITRD, ""))
        project.build()
        loaded = pipeline.load_request(project.request())
        opened = store.read(project.store)
        (step,) = (one for one in graph.all_steps(loaded.whole) if isinstance(one, launch.Launch))
        boot = launch.as_recorded(step, Recorded(opened).as_input_of(step.id)).boot
        assert boot is not None
        directory = project.store / "vms/web"
        assert b"6.1.0" in (directory / boot.kernel).read_bytes()
        assert b"6.1.0" in (directory / str(boot.initrd)).read_bytes()
        ((_, (_, values, _)),) = startable.plain([step], Recorded(opened), opened.settled_ledgers)
        assert machine.of_plain(values).boot == boot


class TestAfterItsRecordsWereLost:
    """What lies in the store says what it started with."""

    @pytest.mark.parametrize("policy", [KEEP, KEEP + 'format = "raw"\n'], ids=["snapshot", "raw"])
    def test_it_starts_with_the_same_kernel(self, project: Project, policy: str) -> None:
        project.write((project.directory / "vm.toml").read_text().replace(KEEP, policy))
        project.build()
        if policy == KEEP:
            guest_writes(project)
        else:
            disk = StoredDisk(project.store / "vms/web/root.ext4", "root.ext4")
            with RAW.transaction(disk, ALONE, EPOCH) as root:
                root.write_file("/precious", b"a guest's")
        write_image(project, "6.9.9")
        project.build()
        before = tree(project)
        lose_records(project.store)
        recovery = recover.recover(project.request(), project.warnings.append, lock_seconds=0)
        assert recovery.unrecovered == ()
        found = project.plan()
        assert {key: (one.verb, one.reasons) for key, one in found.items() if one.verb is not Verb.KEEP} == {}
        project.build()
        assert tree(project) == before
        assert booted(project) == (b"6.1.0", b"6.1.0")
        assert collected(project) == []


def tree(project: Project) -> dict[str, bytes]:
    """All that lies below `images` and `vms`."""
    return {
        str(path.relative_to(project.store)): path.read_bytes()
        for top in ("images", "vms")
        for path in (project.store / top).rglob("*")
        if path.is_file()
    }


def test_a_root_that_is_ours_follows_its_image(project: Project) -> None:
    write_image(project, "6.9.9")
    project.build()
    assert booted(project) == (b"6.9.9", b"6.9.9")


def test_gc_removes_the_kernel_of_an_image_that_nothing_stands_on(project: Project) -> None:
    write_image(project, "6.9.9")
    project.build()
    assert len(collected(project)) == 3
    assert b"6.9.9" in booted_kernel(project)
    assert len(list(project.store.glob("images/debian/*/vmlinuz"))) == 1
