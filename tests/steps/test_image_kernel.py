from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.model import Reason, ReasonCode, Situation, Verb
from bangerbuild.model.fingerprint import step_fields
from bangerbuild.sources.boot_guest import GuestBootFile
from tests.kernel.making import RELEASE, bzimage, debian_boot, elf, packed, readelf
from tests.projects import foretold
from tests.steps.boot_images import BootImage

if TYPE_CHECKING:
    from pathlib import Path

ID = "image.x.kernel"
PATTERN = GuestBootFile("/boot/vmlinuz-*")
MODULAR = "CONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_PCI=m\nCONFIG_EXT4_FS=y\nCONFIG_IP_PNP=y\n"
BUILTIN = MODULAR.replace("=m", "=y")


@pytest.fixture
def image(tmp_path: Path) -> BootImage:
    return BootImage(tmp_path)


def test_only_an_image_with_a_kernel_has_the_step(image: BootImage) -> None:
    assert [step.id for step in image.steps()] == ["image.x.rootfs"]
    image.kernel = PATTERN
    assert [step.id for step in image.steps()] == ["image.x.rootfs", ID]


def test_what_only_shapes_warnings_is_no_part_of_the_recipe(image: BootImage) -> None:
    image.kernel, image.initrd, image.cmdline_vms = PATTERN, PATTERN, ("web",)
    fields = [step_fields(step) for step in image.steps() if step.id == ID]
    assert [list(given.values()) for given in fields] == [["/boot/vmlinuz-*"]]


def test_a_hosts_kernel_is_published_as_it_is_and_unpacked_and_then_kept(image: BootImage) -> None:
    packed_kernel = bzimage(packed(elf(), "xz"))
    image.kernel = image.host("vmlinuz", packed_kernel)
    image.build()

    assert image.artifact(ID, 0).read_bytes() == packed_kernel
    assert image.artifact(ID, 1).read_bytes() == elf()
    assert [path.name for path in (image.artifact(ID, 0), image.artifact(ID, 1))] == ["vmlinuz", "vmlinux"]
    assert image.artifact(ID, 0).parent == image.artifact(ID, 1).parent
    assert {image.artifact(ID, number).stat().st_mode & 0o777 for number in (0, 1)} == {0o444}
    assert image.facts(ID) == {
        "release": RELEASE,
        "architecture": "x86_64",
        "guest": None,
        "options": dict.fromkeys(
            ("VIRTIO_BLK", "VIRTIO_PCI", "VIRTIO_MMIO", "EXT4_FS", "IP_PNP", "OVERLAY_FS")
        ),
    }
    assert {action.verb for action in image.plan().values()} == {Verb.KEEP}


def test_the_newest_kernel_of_the_guest_is_taken_out_of_its_image(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0-9-amd64").write_bytes(
        bzimage(packed(elf(), "gzip"), release="6.1.0-9-amd64")
    )
    newest = bzimage(packed(elf(), "zstd"), release="6.1.0-10-amd64")
    (image.boot / "vmlinuz-6.1.0-10-amd64").write_bytes(newest)
    (image.boot / "config-6.1.0-10-amd64").write_text(BUILTIN)
    image.kernel = PATTERN
    image.build()

    assert image.artifact(ID).read_bytes() == newest
    assert image.facts(ID)["guest"] == "/boot/vmlinuz-6.1.0-10-amd64"
    assert image.facts(ID)["release"] == "6.1.0-10-amd64"
    options = image.facts(ID)["options"]
    assert options == {
        "VIRTIO_BLK": "y",
        "VIRTIO_PCI": "y",
        "VIRTIO_MMIO": "n",
        "EXT4_FS": "y",
        "IP_PNP": "y",
        "OVERLAY_FS": "n",
    }
    assert image.warnings == []


def test_a_new_kernel_of_the_host_moves_no_root_filesystem_and_leaves_the_old_kernel(
    image: BootImage,
) -> None:
    image.kernel = image.host("vmlinuz", elf())
    image.build()
    old = image.artifact(ID)
    image.host("vmlinuz", elf(release="6.2.0"))

    actions = image.plan()
    assert actions["image.x.rootfs"].verb is Verb.KEEP
    assert actions[ID].verb is Verb.CREATE
    assert [reason.to_json() for reason in actions[ID].reasons] == [
        {"code": "source-changed", "path": "vmlinuz"}
    ]
    image.build()
    assert old.read_bytes() == elf()
    assert image.artifact(ID).read_bytes() == elf(release="6.2.0")


def test_a_kernel_out_of_the_guest_follows_its_image(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0").write_bytes(elf())
    image.kernel = PATTERN
    image.build()
    (image.boot / "vmlinuz-6.2.0").write_bytes(elf(release="6.2.0"))
    assert [reason.to_json() for reason in image.plan()[ID].reasons] == [
        {"code": "input-changed", "id": "image.x.rootfs"}
    ]
    image.build()
    assert image.facts(ID)["release"] == "6.2.0"


def test_another_pattern_is_another_kernel(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0").write_bytes(elf())
    (image.boot / "vmlinuz-6.2.0").write_bytes(elf(release="6.2.0"))
    image.kernel = PATTERN
    image.build()
    image.kernel = GuestBootFile("/boot/vmlinuz-6.1.*")
    image.build()
    assert image.facts(ID)["guest"] == "/boot/vmlinuz-6.1.0"


def test_one_that_somebody_changed_is_replaced(image: BootImage) -> None:
    image.kernel = image.host("vmlinuz", elf())
    image.build()
    vmlinux = image.artifact(ID, 1)
    vmlinux.chmod(0o644)
    vmlinux.write_bytes(b"x")

    action = image.plan()[ID]
    assert action.verb is Verb.REPLACE
    directory = str(vmlinux.parent.relative_to(image.store))
    assert action.reasons == (Reason(ReasonCode.ARTIFACT_MODIFIED, {"path": directory}),)
    image.build()
    assert vmlinux.read_bytes() == elf()


def test_one_of_which_a_part_is_gone_is_made_again(image: BootImage) -> None:
    image.kernel = image.host("vmlinuz", elf())
    image.build()
    image.artifact(ID, 1).unlink()
    assert image.plan()[ID].verb is Verb.CREATE
    image.build()
    assert image.artifact(ID, 1).read_bytes() == elf()


def test_nothing_known_of_it_means_create(image: BootImage) -> None:
    image.kernel = PATTERN
    (step,) = [step for step in image.steps() if step.id == ID]
    situation = Situation(None, (), missing=True, modified=lambda: False)
    verdict = step.judge(situation)
    assert (verdict.verb, verdict.reasons) == (Verb.CREATE, (Reason(ReasonCode.MISSING),))


def test_debians_kernel_out_of_a_guest_wants_an_initrd_and_ignores_ip(image: BootImage) -> None:
    debian_boot(image.boot.parent)
    image.kernel, image.cmdline_vms = PATTERN, ("web", "db")
    image.build()

    assert readelf(image.artifact(ID, 1), "-h")
    assert image.facts(ID)["release"] == str(image.facts(ID)["guest"]).removeprefix("/boot/vmlinuz-")
    root, ip = image.warnings
    assert root == (
        f"{ID}: this kernel can't reach its root disk: it has no CONFIG_VIRTIO_BLK, CONFIG_VIRTIO_PCI, "
        "CONFIG_VIRTIO_MMIO built in, and no initrd is declared that could bring it as modules"
    )
    assert ip == (
        f"{ID}: this kernel has no CONFIG_IP_PNP, so network mode 'cmdline' does nothing in vm.web, vm.db; "
        "'bootstrap' does without"
    )


def test_modules_are_enough_with_an_initrd(image: BootImage) -> None:
    image.kernel = image.host("vmlinuz", elf(config=MODULAR))
    image.initrd = image.host("initrd.img", b"070701" + bytes(104))
    image.build()
    assert image.warnings == []


def test_the_configuration_inside_the_kernel_goes_before_the_one_beside_it(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0").write_bytes(elf(config=BUILTIN))
    (image.boot / "config-6.1.0").write_text(MODULAR)
    image.kernel = PATTERN
    image.build()
    assert image.warnings == []


def test_a_configuration_is_also_found_among_the_modules(image: BootImage) -> None:
    (image.boot / "vmlinuz-6.1.0").write_bytes(elf())
    modules = image.boot.parent / "usr" / "lib" / "modules" / "6.1.0"
    modules.mkdir(parents=True)
    (modules / "config").write_text(MODULAR)
    image.kernel = PATTERN
    image.build()
    assert len(image.warnings) == 1
    assert "no CONFIG_VIRTIO_BLK" in image.warnings[0]


def test_of_a_kernel_that_does_not_say_how_it_was_built_nothing_is_said(image: BootImage) -> None:
    image.kernel, image.cmdline_vms = image.host("vmlinuz", elf()), ("web",)
    image.build()
    assert image.warnings == []


def test_no_kernel_at_the_pattern_names_what_is_there(image: BootImage) -> None:
    (image.boot / "config-6.1.0").write_text("")
    image.kernel = PATTERN
    brief = "no kernel matches '/boot/vmlinuz-*': '/boot' holds 'config-6.1.0'"
    assert image.error(ID).brief == brief
    assert image.published() == {"rootfs.ext4"}


def test_two_kernels_of_one_version_are_both_named(image: BootImage) -> None:
    for flavour in ("amd64", "cloud-amd64"):
        (image.boot / f"vmlinuz-6.1.0-9-{flavour}").write_bytes(elf())
    image.kernel = PATTERN
    error = image.error(ID)
    assert error.brief == (
        "'/boot/vmlinuz-*' matches more than one kernel of one version: "
        "'/boot/vmlinuz-6.1.0-9-amd64' and '/boot/vmlinuz-6.1.0-9-cloud-amd64'"
    )
    assert error.hint == "name one of them with `kernel = { guest = … }`"
    assert image.published() == {"rootfs.ext4"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello\n", "is no kernel"),
        (b"\x1f\x8b\x08", "is no kernel: it looks like a gzip stream"),
        (
            bzimage(b"\xde\xad\xbe\xef"),
            "has a payload of an unknown compressor: it begins with 'de ad be ef'",
        ),
        (bzimage(elf())[:4000], "is cut short: its payload ends at byte 7024, the file at 4000"),
    ],
)
def test_a_kernel_that_is_none_is_named_and_nothing_published(
    image: BootImage, content: bytes, said: str
) -> None:
    image.kernel = image.host("vmlinuz", content)
    assert image.error(ID).brief == f"'vmlinuz' {said}"
    assert image.published() == {"rootfs.ext4"}

    (image.boot / "vmlinuz-6.1.0").write_bytes(content)
    image.kernel = PATTERN
    assert image.error(ID).brief == f"'/boot/vmlinuz-6.1.0' {said}"
    assert image.published() == {"rootfs.ext4"}


def test_a_kernel_that_became_none_leaves_the_published_one(image: BootImage) -> None:
    image.kernel = image.host("vmlinuz", elf())
    image.build()
    image.host("vmlinuz", b"")
    assert image.apply()[ID].error is None
    assert foretold(image.plan()[ID]).brief == "'vmlinuz' is no kernel: it is empty"
    assert image.artifact(ID, 1).read_bytes() == elf()
