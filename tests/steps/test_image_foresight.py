"""What an image is known to fail at is said in the plan, and `apply` does not begin it."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from bangerbuild.model import Outcome, Verb
from tests.disk.ext4_tools import make_ext4, remove_magic
from tests.kernel.making import elf
from tests.projects import DEBIAN, Project, reasons, write_tar

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.model import Action

MIB = 1 << 20
PROGRAMS = ("sh", "mount", "mkdir", "cat", "sleep", "pivot_root")
IMAGES = {
    "junk-tar": ('tar = "junk"', "'junk' is no tarball"),
    "empty-tar": ('tar = "empty"', "'empty' is empty"),
    "cut-tar": ('tar = "cut.tar"', "'cut.tar' ends in the middle of 'etc/group'"),
    "cut-gzip": ('tar = "cut.tar.gz"', "'cut.tar.gz' ends after 'usr/lib/systemd/systemd'"),
    "other-tar": ('tar = "sound.ext4"', "'sound.ext4' is no tarball but an ext2, ext3 or ext4 filesystem"),
    "junk-cpio": ('cpio = "junk"', "'junk' is no cpio archive"),
    "junk-squashfs": ('squashfs = "junk"', "'junk' is something that begins with"),
    "junk-ext4": ('ext4 = "junk"', "'junk'"),
    "no-ext4": ('ext4 = "damaged.ext4"', "'damaged.ext4'"),
    "full-tar": ('tar = "large.tar"\nsize = "16MiB"', "'large.tar' takes 20"),
    "full-gzip": ('tar = "large.tar.gz"\nsize = "16MiB"', "'large.tar.gz' takes 20"),
    "full-tree": ('directory = "large"\nsize = "16MiB"', "'large' takes 20"),
    "nearly-full-tree": ('directory = "large"\nsize = "21MiB"', "'large' takes 20"),
    "no-shell": ('tar = "root.tar"\noverlay_init = true', "'root.tar' has no '/bin/sh'"),
    "no-shell-tree": ('directory = "large"\noverlay_init = true', "'large' has no '/bin/sh'"),
    "no-shell-ext4": ('ext4 = "sound.ext4"\noverlay_init = true', "'sound.ext4' has no '/bin/sh'"),
}
SOUND = {
    "holes": 'directory = "holes"\nsize = "16MiB"',
    "shell": 'tar = "shell.tar"\nsize = "16MiB"\noverlay_init = true',
    "fits": 'directory = "large"\nsize = "48MiB"',
}


def write_sources(at: Path) -> None:
    noise = b"noise" * (4 * MIB)
    (at / "junk").write_bytes(noise[:9000])
    (at / "empty").touch()
    whole = write_tar(at / "root.tar", DEBIAN)
    write_tar(at / "large.tar", {**DEBIAN, "large": noise})
    (at / "large.tar.gz").write_bytes(gzip.compress((at / "large.tar").read_bytes(), 1))
    (at / "cut.tar").write_bytes(whole.read_bytes()[:1900])
    (at / "cut.tar.gz").write_bytes(gzip.compress(whole.read_bytes())[:-40])
    make_ext4(at / "sound.ext4", size="16M")
    remove_magic(make_ext4(at / "damaged.ext4", size="16M"))
    (at / "large").mkdir()
    (at / "large/noise").write_bytes(noise)
    (at / "holes").mkdir()
    with (at / "holes/large").open("wb") as file:
        file.truncate(200 * MIB)
    with tarfile.open(at / "shell.tar", "w") as archive:
        link = tarfile.TarInfo("bin")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/bin"
        archive.addfile(link)
        for name in PROGRAMS:
            member = tarfile.TarInfo(f"usr/bin/{name}")
            member.mode, member.size = 0o755, 1
            archive.addfile(member, io.BytesIO(b"x"))


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Action]]:
    """One plan of all of them, before and after an apply that must come to the same."""
    project = Project(tmp_path_factory.mktemp("images"))
    write_sources(project.directory)
    tables = {name: source for name, (source, _) in IMAGES.items()} | SOUND
    project.write("".join(f"[image.{name}.rootfs]\n{source}\n" for name, source in tables.items()))
    return project, project.plan()


def of(name: str) -> str:
    return f"image.{name}.rootfs"


@pytest.mark.parametrize("name", IMAGES)
def test_it_is_blocked_in_the_words_of_the_run(planned: tuple[Project, dict[str, Action]], name: str) -> None:
    action = planned[1][of(name)]
    assert action.verb is Verb.BLOCKED
    missing, known = reasons(action)
    assert (missing["code"], known["code"]) == ("missing", "would-fail")
    assert IMAGES[name][1] in str(known["message"])


@pytest.mark.parametrize("name", SOUND)
def test_what_fits_is_not_refused(planned: tuple[Project, dict[str, Action]], name: str) -> None:
    assert planned[1][of(name)].verb is Verb.CREATE


def test_apply_leaves_what_is_blocked_and_makes_the_rest(planned: tuple[Project, dict[str, Action]]) -> None:
    project, before = planned
    results = project.apply()
    assert {name for name in IMAGES if results[of(name)].outcome is not Outcome.SKIPPED} == set()
    assert {name: results[of(name)].error for name in SOUND} == dict.fromkeys(SOUND)
    after = project.plan()
    assert {name: reasons(after[of(name)]) for name in IMAGES} == {
        name: reasons(before[of(name)]) for name in IMAGES
    }
    assert {after[of(name)].verb for name in SOUND} == {Verb.KEEP}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no kernel at all", "'file' is no kernel"),
        (b"", "'file' is no kernel: it is empty"),
        (b"\x7fELF" + bytes(60), "'file' is no kernel for x86-64"),
        (b"\x1f\x8b" + bytes(600), "'file' is no kernel: it looks like a gzip stream"),
    ],
)
def test_a_junk_kernel_and_initrd_are_known_by_their_first_bytes(
    tmp_path: Path, content: bytes, message: str
) -> None:
    project = Project(tmp_path)
    write_tar(tmp_path / "root.tar", DEBIAN)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "noise").write_bytes(b"no initrd at all")
    project.write(
        '[image.a]\nkernel = "file"\ninitrd = "noise"\nrootfs = { tar = "root.tar", size = "16MiB" }\n'
    )
    found = project.plan()
    for step, words in (("kernel", message), ("initrd", "'noise' is no initrd")):
        assert found[f"image.a.{step}"].verb is Verb.BLOCKED
        assert words in str(found[f"image.a.{step}"].reasons[-1].facts["message"])
    results = project.apply()
    assert results["image.a.kernel"].outcome is Outcome.SKIPPED
    assert {key: one.reasons for key, one in project.plan().items() if one.verb is Verb.BLOCKED} == {
        key: one.reasons for key, one in found.items() if one.verb is Verb.BLOCKED
    }
    (tmp_path / "file").write_bytes(elf(release="6.1.0"))
    assert project.plan()["image.a.kernel"].verb is Verb.CREATE


def test_a_pattern_that_nothing_in_the_image_fits_is_known_once_the_image_is_there(tmp_path: Path) -> None:
    project = Project(tmp_path)
    write_tar(tmp_path / "root.tar", {**DEBIAN, "boot/config": "x"})
    kernel = 'kernel = { guest = "/boot/vmlinuz-*" }\n'
    project.write(f'[image.a]\n{kernel}rootfs = {{ tar = "root.tar", size = "16MiB" }}\n')
    error = project.error("image.a.kernel")
    found = project.plan()["image.a.kernel"]
    assert found.verb is Verb.BLOCKED
    assert found.reasons[-1].facts["message"] == error.brief
