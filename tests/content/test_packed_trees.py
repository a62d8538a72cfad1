"""An image of a cpio archive or a squashfs holds what their own programs extract as root."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.content.mounting import mounted
from tests.content.odd import make_packable_tree
from tests.content.survey import differences, survey
from tests.content.test_tarballs import build
from tests.disk.ext4_tools import make_ext4
from tests.formats.cpiomaking import pack_cpio, pack_squashfs
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import CommandLine

pytestmark = pytest.mark.root


def extract_cpio(archive: Path, top: Path) -> None:
    """As root, with owners by number and times."""
    command = [need("cpio"), "-idmu", "--quiet", "--no-absolute-filenames"]
    subprocess.run(command, input=archive.read_bytes(), cwd=top, check=True, capture_output=True)


def extract_squashfs(image: Path, top: Path) -> None:
    """As root; with it come all extended attributes."""
    command = [need("unsquashfs", "squashfs-tools"), "-f", "-n", "-q", "-d", str(top), str(image)]
    subprocess.run(command, check=True, capture_output=True)


def is_cpios_own(difference: str) -> bool:
    """Whether GNU cpio leaves that as it is: the directory it is in, and times of symbolic links."""
    return difference.startswith("b'.': ") or ("link" in difference and ": mtime_ns: " in difference)


@pytest.mark.parametrize(
    ("word", "pack", "extract"),
    [("cpio", pack_cpio, extract_cpio), ("squashfs", pack_squashfs, extract_squashfs)],
)
def test_a_tree_of_odd_things_is_held_as_its_own_program_extracts_it(
    cli: CommandLine,
    tmp_path: Path,
    word: str,
    pack: Callable[[Path, Path], Path],
    extract: Callable[[Path, Path], None],
) -> None:
    with mounted(make_ext4(tmp_path / "packed.ext4", size="256M"), tmp_path / "packed") as top:
        (top / "lost+found").rmdir()
        make_packable_tree(top)
        packed = pack(top, tmp_path / "packed.bin")
    disk = build(cli, tmp_path, f'{word} = "{packed}"')
    with (
        mounted(make_ext4(tmp_path / "reference.ext4", size="256M"), tmp_path / "reference") as reference,
        mounted(disk, tmp_path / "image", "ro") as image,
    ):
        extract(packed, reference)
        expected = survey(reference)
        found = differences(expected, survey(image))
        assert [one for one in found if not is_cpios_own(one)] == []
        assert (image.stat().st_mode & 0o7777, image.stat().st_uid, image.stat().st_gid) == (0o751, 7, 8)
    assert len(expected) > 100
