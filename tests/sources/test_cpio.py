"""cpio archives of the host, and behind an address, as images."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from bangerbuild.model import HostPath
from bangerbuild.sources.cpio import CpioSource
from tests.formats.cpiomaking import TRAILER, record, write_cpio
from tests.sources.building import ID, built, declared

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project
    from tests.web import Web


def test_a_manifest_names_the_file_its_size_and_what_it_may_unpack_to(tmp_path: Path) -> None:
    path = write_cpio(tmp_path / "initrd", b"etc/motd", b"hello\n")
    source = declared(tmp_path, 'rootfs = { cpio = "initrd", size = "2GiB", max_size = "8GiB" }').rootfs
    assert source == CpioSource(HostPath(path, "initrd"), 2 << 30, 8 << 30)


def test_an_initrd_becomes_an_image_in_which_the_last_of_a_name_counts(project: Project) -> None:
    early = record(b"etc/motd", b"early\n") + record(b"a", b"1", ino=1, nlink=2) + TRAILER
    main = record(b"etc/motd", b"main\n") + record(b"b", b"2", ino=1, nlink=2) + TRAILER
    path = project.directory / "initrd"
    path.write_bytes(early + bytes(700) + gzip.compress(main))
    disk = built(project, '[image.debian.rootfs]\ncpio = "initrd"\n')
    assert [disk.text(f"/{name}") for name in ("etc/motd", "a", "b")] == ["main\n", "1", "2"]
    assert CpioSource.claims(str(path))


def test_it_may_lie_behind_an_address(project: Project, web: Web, served: Path) -> None:
    write_cpio(served / "any", b"etc/motd", b"hello\n")
    text = f'[image.debian.rootfs]\nurl = "{web.url("any")}"\nsize = "16MiB"\n'
    assert built(project, text).text("/etc/motd") == "hello\n"


def test_one_of_an_old_form_fails_its_step_by_name(project: Project) -> None:
    (project.directory / "old").write_bytes(b"070707".ljust(600, b"0"))
    project.write('[image.debian.rootfs]\ncpio = "old"\n')
    error = project.error(ID)
    assert "of the old portable form 'odc'" in error.brief
    assert CpioSource.claims(str(project.directory / "old"))
