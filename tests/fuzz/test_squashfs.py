"""squashfs images: a damaged one is read within its limits, or refused."""

from __future__ import annotations

import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.squashfs.image import open_squashfs
from tests.formats.cpiomaking import make_squashfs
from tests.fuzz.frame import damaged, few, within_limits
from tests.need import need

if TYPE_CHECKING:
    from tests.fuzz.frame import Place

SUPERBLOCK_FIELDS = (4, 8, 12, 16, 20, 22, 24, 26, 28, 30, 32, 40, 48, 56, 64, 72, 80, 88)


@lru_cache
def specimens() -> list[bytes]:
    """Images with plain tables, so that damage reaches the fields of inodes and directories."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name) / "tree"
        (top / "a/b/c").mkdir(parents=True)
        (top / "a/file").write_bytes(b"content" * 3000)
        (top / "a/again").hardlink_to(top / "a/file")
        (top / "link").symlink_to("a/file")
        subprocess.run([need("mkfifo", "coreutils"), str(top / "fifo")], check=True)
        plain = ("-noI", "-noD", "-noF", "-noX")
        options = ((), plain, (*plain, "-comp", "zstd"), ("-comp", "xz"), ("-comp", "lz4"))
        made = [
            make_squashfs(top, Path(name) / f"{number}.sqfs", *chosen)
            for number, chosen in enumerate(options)
        ]
        return [path.read_bytes() for path in made]


@few(60)
@given(data=st.deferred(lambda: damaged(specimens(), (*SUPERBLOCK_FIELDS, *range(96, 400)))))
def test_a_damaged_image(place: Place, data: bytes) -> None:
    path = place.inside / "a.sqfs"
    path.write_bytes(data)
    with within_limits(), open_squashfs(path, written="a.sqfs", limits=UnpackLimits(64 << 20)) as entries:
        for entry in entries:
            assert ".." not in entry.path.split("/")
            while entry.content is not None and entry.content.read(1 << 20):
                pass
    place.assert_nothing_else_was_touched()


def test_the_specimens_are_read(place: Place) -> None:
    for data in specimens():
        path = place.inside / "a.sqfs"
        path.write_bytes(data)
        with open_squashfs(path, written="a.sqfs") as entries:
            assert len(list(entries)) == 8
