"""Archives that hold an image are told from root filesystems, and how to get at what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.wrappers import refusing
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator


HEX = "0123456789abcdef" * 4
LAYER = f"{HEX}/layer.tar"


def entries(*paths: str) -> Iterator[Entry]:
    """Directories are written with a slash at their end."""
    for path in paths:
        type_ = EntryType.DIRECTORY if path.endswith("/") else EntryType.FILE
        yield Entry(path.rstrip("/"), type_, mode=0o755)


def refusal(*paths: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(refusing(entries("", *paths), "./x.tar"))
    return caught.value


@pytest.mark.parametrize(
    ("paths", "what", "way_out"),
    [
        (("oci-layout", "index.json", "blobs/", "blobs/sha256/"), "OCI layout", "`oci-archive:./x.tar`"),
        (
            ("blobs/sha256/a", "index.json", "manifest.json", "oci-layout"),
            "OCI layout",
            "`oci-archive:./x.tar`",
        ),
        (
            ("manifest.json", f"{HEX}.json", LAYER, "repositories"),
            "`docker save`",
            "`docker-archive:./x.tar`",
        ),
        ((f"{HEX}.tar", f"{HEX}.json", "manifest.json"), "`docker save`", "`docker-archive:./x.tar`"),
        (
            (LAYER, f"{HEX}/json", f"{HEX}/VERSION", "repositories"),
            "`docker save`",
            "`docker-archive:./x.tar`",
        ),
        (("box.ovf", "box-disk1.vmdk", "box.mf"), "a virtual appliance (OVA)", "name 'box-disk1.vmdk'"),
        (("metadata.json", "Vagrantfile", "box.img"), "a Vagrant box", "name 'box.img'"),
        (("Vagrantfile", "metadata.json", "box.ovf", "a.vmdk"), "a Vagrant box", "name 'a.vmdk'"),
        (("disk.raw",), "an archive of a disk image", "name 'disk.raw' in it with `disk_image = …`"),
        (("noble.img",), "an archive of a disk image", "name 'noble.img'"),
        (("metadata.yaml", "rootfs/", "rootfs/etc/", "templates/"), "LXD or Incus", "lies below 'rootfs'"),
        (("metadata.yaml", "templates/", "templates/hosts.tpl"), "no files", "give the other half"),
        (("bookworm/", "bookworm/etc/", "bookworm/usr/"), "'bookworm' that holds one", "tar -C bookworm"),
        (("bookworm/etc/passwd", "bookworm/etc/", "bookworm/usr/"), "'bookworm'", "tar -C bookworm"),
    ],
)
def test_an_archive_that_holds_an_image_is_called_by_its_name_with_the_way_to_the_image(
    paths: tuple[str, ...], what: str, way_out: str
) -> None:
    found = refusal(*paths)
    assert found.brief.startswith("'./x.tar' holds no root filesystem: it is ")
    assert what in found.brief
    assert way_out in str(found.hint)


@pytest.mark.parametrize(
    "paths",
    [
        (),
        ("init",),
        ("etc/", "usr/", "manifest.json", LAYER, "oci-layout", "index.json"),
        ("bin/", "manifest.json"),
        ("disk.raw", "bin/"),
        ("disk.raw/",),
        ("srv/", "srv/data"),
        ("metadata.yaml", "bin/"),
        ("app/", "app/usr/"),
        ("box.ovf.txt", "notes"),
    ],
)
def test_a_tree_is_taken_whatever_lies_beside_it(paths: tuple[str, ...]) -> None:
    assert len(list(refusing(entries("", *paths), "x"))) == len(paths) + 1
