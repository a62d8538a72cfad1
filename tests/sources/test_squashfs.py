"""squashfs images of the host, and behind an address, as images."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from bangerbuild.model import HostPath
from bangerbuild.sources.squashfs import SquashfsSource
from tests.formats.cpiomaking import make_squashfs
from tests.sources.building import ID, built, declared

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project
    from tests.web import Web


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/motd").write_text("hello\n")
    return make_squashfs(tmp_path / "tree", tmp_path / "root.squashfs", "-all-root")


def test_a_manifest_names_the_file_its_size_and_what_it_may_unpack_to(image: Path) -> None:
    text = 'rootfs = { squashfs = "root.squashfs", size = "2GiB", max_size = "8GiB" }'
    source = declared(image.parent, text).rootfs
    assert source == SquashfsSource(HostPath(image, "root.squashfs"), 2 << 30, 8 << 30)


def test_it_becomes_an_image_and_is_locked_by_its_digest(project: Project, image: Path) -> None:
    text = f'[image.debian.rootfs]\nsquashfs = "{image.name}"\n'
    assert built(project, text).text("/etc/motd") == "hello\n"
    assert SquashfsSource.claims(str(image))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_it_may_lie_behind_an_address(
    project: Project, web: Web, served: Path, image: Path, pack: type[bytes]
) -> None:
    (served / "any").write_bytes(pack(image.read_bytes()))
    text = f'[image.debian.rootfs]\nurl = "{web.url("any")}"\nsize = "16MiB"\n'
    assert built(project, text).text("/etc/motd") == "hello\n"


def test_another_file_is_called_by_its_name(project: Project) -> None:
    (project.directory / "x").write_bytes(gzip.compress(b"070701" + bytes(600)))
    project.write('[image.debian.rootfs]\nsquashfs = "x"\n')
    error = project.error(ID)
    assert error.brief == ("'x' is a cpio archive inside its gzip compression: it is no squashfs image")
    assert error.hint == "name it with `cpio = …` in a manifest"
