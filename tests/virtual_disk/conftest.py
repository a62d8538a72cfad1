"""Disks that several tests look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.virtual_disk.making import BIOS, DATA, EFI, ROOT, ROOT_X86_64, Part, disk, fat, filesystem

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem."""
    return filesystem(tmp_path_factory.mktemp("root") / "root.ext4", ROOT, label="cloudimg-rootfs")


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filesystem that is no root."""
    return filesystem(tmp_path_factory.mktemp("data") / "data.ext4", DATA, "-U", "random", label="data")


@pytest.fixture(scope="package")
def debian(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A disk laid out as Debian's genericcloud images: the root lies last, and is number 1."""
    directory = tmp_path_factory.mktemp("debian")
    parts = (
        Part(3, BIOS, number=14),
        Part(8, EFI, fat(directory / "esp"), number=15),
        Part(24, ROOT_X86_64, root, number=1),
    )
    return disk(directory / "debian.raw", parts)
