from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.kernel.config import answers, embedded, ignores_ip, missing_for_root
from tests.kernel.making import debian_boot, elf

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.kernel.config import Answer

BUILTIN: dict[str, Answer | None] = {
    "VIRTIO_BLK": "y",
    "VIRTIO_PCI": "y",
    "VIRTIO_MMIO": "y",
    "EXT4_FS": "y",
    "IP_PNP": "y",
    "OVERLAY_FS": "y",
}


def test_debians_cloud_kernel_has_its_virtio_in_modules_and_no_ip_pnp(tmp_path: Path) -> None:
    (beside,) = debian_boot(tmp_path).glob("config-*")
    assert answers(beside.read_text()) == {
        "VIRTIO_BLK": "m",
        "VIRTIO_PCI": "m",
        "VIRTIO_MMIO": "m",
        "EXT4_FS": "y",
        "IP_PNP": "n",
        "OVERLAY_FS": "m",
    }


def test_an_option_that_is_not_named_is_absent_and_without_a_configuration_nothing_is_known() -> None:
    text = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_AB=y\nCONFIG_E=5\n"
    assert answers(text, "ABCDE") == {"A": "y", "B": "m", "C": "n", "D": "n", "E": "n"}
    assert answers(None, "AB") == {"A": None, "B": None}


def test_the_configuration_inside_a_kernel_is_found(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(elf(config="CONFIG_A=y\n"))
    assert embedded(tmp_path / "vmlinux") == "CONFIG_A=y\n"


@pytest.mark.parametrize("damage", [b"IKCFG_ED", b"IKCFG_ST", b"\x1f\x8b\x08"])
def test_a_configuration_that_is_not_whole_is_none(tmp_path: Path, damage: bytes) -> None:
    image = elf(config="CONFIG_A=y\n" * 1000)
    assert damage in image
    (tmp_path / "vmlinux").write_bytes(image.replace(damage, bytes(len(damage))))
    assert embedded(tmp_path / "vmlinux") is None


def test_a_damaged_configuration_is_none_rather_than_one_that_lacks_options(tmp_path: Path) -> None:
    image = elf(config="".join(f"CONFIG_{number}=y\n" for number in range(5000)))
    start, end = image.index(b"IKCFG_ST"), image.index(b"IKCFG_ED")
    (tmp_path / "vmlinux").write_bytes(image[: (start + end) // 2] + image[end:])
    assert embedded(tmp_path / "vmlinux") is None
    (tmp_path / "vmlinux").write_bytes(image[: start + 20] + b"\xff" * 60 + image[start + 80 :])
    assert embedded(tmp_path / "vmlinux") is None


@pytest.mark.parametrize(
    ("said", "without_initrd", "with_initrd"),
    [
        ({}, (), ()),
        ({"VIRTIO_BLK": "m"}, ("VIRTIO_BLK",), ()),
        ({"VIRTIO_BLK": "n"}, ("VIRTIO_BLK",), ("VIRTIO_BLK",)),
        ({"VIRTIO_PCI": "m"}, (), ()),
        ({"VIRTIO_PCI": "m", "VIRTIO_MMIO": "n"}, ("VIRTIO_PCI", "VIRTIO_MMIO"), ()),
        ({"EXT4_FS": "m"}, ("EXT4_FS",), ()),
        (dict.fromkeys(BUILTIN), (), ()),
    ],
)
def test_modules_serve_only_with_an_initrd_and_one_transport_is_enough(
    said: dict[str, Answer | None], without_initrd: tuple[str, ...], with_initrd: tuple[str, ...]
) -> None:
    assert missing_for_root({**BUILTIN, **said}, has_initrd=False) == without_initrd
    assert missing_for_root({**BUILTIN, **said}, has_initrd=True) == with_initrd


def test_only_a_kernel_known_to_lack_ip_pnp_is_said_to_ignore_ip() -> None:
    assert [ignores_ip({"IP_PNP": said}) for said in ("y", "n", None)] == [False, True, False]
