"""The right content: an image holds exactly what GNU tar extracts as root, as this kernel sees both."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.boot import debian
from tests.content.mounting import extracted, mounted
from tests.content.odd import HARD_LINKS, MANY_FILES, make_crowds, make_odd_tree
from tests.content.survey import differences, survey
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import CommandLine

pytestmark = pytest.mark.root

ALL = ("--xattrs", "--xattrs-include=*", "--acls")
FORMS = {
    "pax": ("--format=pax", *ALL),
    "pax with owners by number": ("--format=pax", "--numeric-owner", *ALL),
    "pax, holes as of version 0.0": ("--format=pax", "--sparse-version=0.0", *ALL),
    "pax, holes as of version 0.1": ("--format=pax", "--sparse-version=0.1", *ALL),
    "gnu": ("--format=gnu",),
}


def pack(make: Callable[[Path], None], directory: Path, *options: str) -> Path:
    """A tarball of a tree that is made on an ext4 of its own."""
    disk = make_ext4(directory / "packed.ext4", "-N", "200000", size="8G")
    tarball = directory / "packed.tar"
    with mounted(disk, directory / "packed") as top:
        (top / "lost+found").rmdir()
        make(top)
        subprocess.run(
            [need("tar"), *options, "--sparse", "-cf", str(tarball), "-C", str(top), "."], check=True
        )
    disk.unlink()
    return tarball


def build(cli: CommandLine, directory: Path, source: str) -> Path:
    """The image that the command line makes of a source."""
    (directory / "vm.toml").write_text(f"[image.x.rootfs]\n{source}\n")
    done = cli("apply", "--target", "image.x.rootfs", cwd=directory)
    assert done.returncode == 0, done.stderr
    (disk,) = directory.glob("build/images/x/*/rootfs.ext4")
    assert_clean(disk)
    return disk


def assert_holds_what_tar_extracts(cli: CommandLine, tarball: Path, directory: Path, *options: str) -> int:
    """How many names were compared."""
    disk = build(cli, directory, f'tar = "{tarball}"')
    with (
        extracted(tarball, directory, *options) as reference,
        mounted(disk, directory / "image", "ro") as image,
    ):
        expected = survey(reference)
        assert differences(expected, survey(image)) == []
    return len(expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_tree_of_every_odd_thing_is_held_as_tar_extracts_it(
    cli: CommandLine, tmp_path: Path, form: str
) -> None:
    tarball = pack(make_odd_tree, tmp_path, *FORMS[form])
    assert assert_holds_what_tar_extracts(cli, tarball, tmp_path, "--acls") > 2000


def test_very_many_names_are_held_as_tar_extracts_them(cli: CommandLine, tmp_path: Path) -> None:
    """In minutes: the kernel looks each up in our directories."""
    tarball = pack(make_crowds, tmp_path, "--format=gnu")
    assert assert_holds_what_tar_extracts(cli, tarball, tmp_path) == HARD_LINKS + MANY_FILES + 3


def test_a_debian_is_held_as_tar_extracts_it(cli: CommandLine, tmp_path: Path) -> None:
    """Without --acls: with it GNU tar takes away the ACLs that mmdebstrap packs as extended attributes."""
    tarball = debian.tarball(debian.ROOTFS)
    assert assert_holds_what_tar_extracts(cli, tarball, tmp_path) > 10_000


def make_busybox(top: Path) -> None:
    """A root filesystem with every applet as a hard link, and as a symlink."""
    for name in ("bin", "sbin", "etc", "proc", "root", "tmp"):
        (top / name).mkdir()
    busybox = need("busybox", "busybox-static")
    subprocess.run([need("cp"), busybox, str(top / "bin" / "busybox")], check=True)
    subprocess.run([busybox, "--install", "-s", str(top / "sbin")], check=True)
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout
    for name in {*listed.split()} - {"busybox"}:
        os.link(top / "bin" / "busybox", top / "bin" / name)
    (top / "tmp").chmod(0o1777)
    (top / "root").chmod(0o700)
    (top / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")


def test_a_busybox_is_held_as_tar_extracts_it(cli: CommandLine, tmp_path: Path) -> None:
    tarball = pack(make_busybox, tmp_path)
    assert assert_holds_what_tar_extracts(cli, tarball, tmp_path) > 200
