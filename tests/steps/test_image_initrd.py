from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.model import Verb
from bangerbuild.sources.boot_guest import GuestBootFile
from tests.kernel.making import elf
from tests.steps.boot_images import BootImage

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.model import Step

ID = "image.x.initrd"
KERNELS = GuestBootFile("/boot/vmlinuz-*")
INITRDS = GuestBootFile("/boot/initrd.img-*")
CPIO = b"070701" + bytes(104)


@pytest.fixture
def image(tmp_path: Path) -> BootImage:
    return BootImage(tmp_path)


def initrd_step(image: BootImage) -> Step:
    (step,) = [step for step in image.steps() if step.id == ID]
    return step


def test_only_an_image_with_an_initrd_has_the_step(image: BootImage) -> None:
    image.kernel = KERNELS
    assert ID not in [step.id for step in image.steps()]


def test_it_stands_on_the_kernel_only_if_both_come_out_of_the_guest(image: BootImage) -> None:
    image.kernel, image.initrd = KERNELS, INITRDS
    assert initrd_step(image).inputs == ("image.x.rootfs", "image.x.kernel")
    image.kernel = image.host("vmlinuz", elf())
    assert initrd_step(image).inputs == ("image.x.rootfs",)
    image.initrd = image.host("initrd.img", CPIO)
    assert initrd_step(image).inputs == ()


def test_a_hosts_initrd_is_published_byte_for_byte_and_then_kept(image: BootImage) -> None:
    image.initrd = image.host("initrd.img", CPIO)
    image.build()
    assert image.artifact(ID).name == "initrd.img"
    assert image.artifact(ID).read_bytes() == CPIO
    assert image.artifact(ID).stat().st_mode & 0o777 == 0o444
    assert image.facts(ID) == {"guest": None}
    assert {action.verb for action in image.plan().values()} == {Verb.KEEP}


def test_another_initrd_moves_neither_kernel_nor_root_filesystem(image: BootImage) -> None:
    image.kernel, image.initrd = image.host("vmlinuz", elf()), image.host("initrd.img", CPIO)
    image.build()
    image.host("initrd.img", CPIO + b"\0")
    verbs = {step_id: action.verb for step_id, action in image.plan().items()}
    assert verbs == {"image.x.rootfs": Verb.KEEP, "image.x.kernel": Verb.KEEP, ID: Verb.CREATE}


def test_it_is_the_one_for_the_kernel_that_is_taken(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0-9-amd64").write_bytes(elf(release="6.1.0-9-amd64"))
    (image.boot / "initrd.img-6.1.0-9-amd64").write_bytes(CPIO + b"9")
    (image.boot / "initrd.img-6.1.0-10-amd64").write_bytes(CPIO + b"10")
    image.kernel, image.initrd = KERNELS, INITRDS
    image.build()
    assert image.artifact(ID).read_bytes() == CPIO + b"9"
    assert image.facts(ID) == {"guest": "/boot/initrd.img-6.1.0-9-amd64"}
    assert image.warnings == []


def test_beside_a_kernel_of_the_host_it_is_the_newest(image: BootImage) -> None:
    (image.boot / "initrd.img-6.1.0-9-amd64").write_bytes(CPIO + b"9")
    (image.boot / "initrd.img-6.1.0-10-amd64").write_bytes(CPIO + b"10")
    image.kernel, image.initrd = image.host("vmlinuz", elf(release="6.1.0-9-amd64")), INITRDS
    image.build()
    assert image.artifact(ID).read_bytes() == CPIO + b"10"


def test_one_that_is_named_for_another_kernel_is_taken_with_a_warning(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0-9-amd64").write_bytes(elf(release="6.1.0-9-amd64"))
    (image.boot / "initrd.img-6.1.0-10-amd64").write_bytes(CPIO)
    image.kernel, image.initrd = KERNELS, GuestBootFile("/boot/initrd.img-6.1.0-10-amd64")
    image.build()
    assert image.artifact(ID).read_bytes() == CPIO
    (warning,) = image.warnings
    assert warning == (
        f"{ID}: '/boot/initrd.img-6.1.0-10-amd64' is for kernel 6.1.0-10-amd64, "
        "and the kernel is 6.1.0-9-amd64"
    )


def test_none_for_the_kernel_is_an_error_that_names_what_there_is(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0-9-amd64").write_bytes(elf(release="6.1.0-9-amd64"))
    (image.boot / "initrd.img-6.1.0-10-amd64").write_bytes(CPIO)
    image.kernel, image.initrd = KERNELS, INITRDS
    assert image.error(ID).brief == (
        "no initrd for kernel 6.1.0-9-amd64: '/boot/initrd.img-*' matches '/boot/initrd.img-6.1.0-10-amd64'"
    )
    assert image.published() == {"rootfs.ext4", "vmlinuz", "vmlinux"}


def test_none_at_the_pattern_is_an_error_that_names_what_is_there(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0").write_bytes(elf())
    image.initrd = INITRDS
    brief = "no initrd matches '/boot/initrd.img-*': '/boot' holds 'vmlinuz-6.1.0'"
    assert image.error(ID).brief == brief
    assert image.published() == {"rootfs.ext4"}


@pytest.mark.parametrize(("content", "said"), [(elf(), "an ELF program"), (b"\x42" * 9, None), (b"", None)])
def test_what_is_no_initrd_is_named_and_nothing_published(
    image: BootImage, content: bytes, said: str | None
) -> None:
    image.initrd = image.host("initrd.img", content)
    brief = image.error(ID).brief
    assert brief.startswith("'initrd.img' is no initrd")
    assert said is None or brief.endswith(f": it looks like {said}")

    (image.boot / "initrd.img-6.1.0").write_bytes(content)
    image.initrd = INITRDS
    assert image.error(ID).brief.startswith("'/boot/initrd.img-6.1.0' is no initrd")
    assert image.published() == {"rootfs.ext4"}
