from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bangerbuild.commands import gc
from bangerbuild.model import ReasonCode, Verb
from tests.kernel.making import elf
from tests.projects import DEBIAN, Project, codes, write_tar

IMAGE = """\
[image.debian]
kernel = { guest = "/boot/vmlinuz-*" }
cmdline = "console=ttyS0"
rootfs = { tar = "root.tar", size = "24MiB" }
"""
INITRD = 'initrd = { guest = "/boot/initrd.img-*" }\n'
WEB = '[vm.web]\nimage = "debian"\nwork = false\n'
KEEP = '[vm.web.root]\non_new_base = "keep"\n'
RAW = '[vm.web.root]\nformat = "raw"\n'


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

    @pytest.mark.parametrize("policy", [KEEP, "", RAW], ids=["keep", "block", "raw"])
    def test_it_starts_with_the_kernel_and_the_initrd_of_that_image(
        self, project: Project, policy: str
    ) -> None:
        project.write((project.directory / "vm.toml").read_text().replace(KEEP, policy))
        project.build()
        if policy == RAW:
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

    def test_where_no_kernel_of_its_image_is_left_its_files_stay_and_the_way_out_is_named(
        self, project: Project
    ) -> None:
        guest_writes(project)
        before = (project.store / "vms/web/firecracker.json").read_bytes()
        (kernel,) = project.store.glob("images/debian/*/vmlinuz")
        shutil.rmtree(kernel.parent)
        write_image(project, "6.9.9")
        project.apply()
        found = project.plan()["vm.web.launch"]
        assert (found.verb, codes(found.reasons)) == (Verb.BLOCKED, [ReasonCode.WOULD_FAIL.value])
        assert (project.store / "vms/web/firecracker.json").read_bytes() == before
        project.build("vm.web.root")
        assert booted(project) == (b"6.9.9", b"6.9.9")


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
