"""Lock files: what this program writes is read, anything else is one error that names the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given

from bangerbuild.errors import LockFileError
from bangerbuild.resolving import lockfile
from tests.fuzz.frame import assert_is_one_line, damaged, few, within_limits

if TYPE_CHECKING:
    from tests.fuzz.frame import Place

SPECIMEN = f"""\
# What the manifest's sources stand for. Made by bangerbuild; keep it in git.
version = 1

[image.debian.rootfs]
mmdebstrap = "bookworm"
packages = ["openssh-server", "systemd"]
mirror = "http://deb.example/debian"
sha256 = "{"0" * 64}"
versions = "{"1" * 64}"

[image.web.kernel]
url = "https://example.org/vmlinuz"
sha256 = "{"a" * 64}"

[image.app.work_seed]
oci = "docker://docker.io/library/app:1"
platform = "linux/amd64"
sha256 = "{"b" * 64}"
""".encode()


@few(150)
@given(data=damaged([SPECIMEN]))
@example(data=b"x = " + b"[" * 10_000)
@example(data=b"version = " + b"1" * 5000)
@example(data=b"version = 0x1" + b"1" * 5000)
@example(data=b"version = 1\n[" + b"a." * 100_000 + b"a]")
def test_a_damaged_lock_file(place: Place, data: bytes) -> None:
    path = place.inside / "bangerbuild.lock"
    path.write_bytes(data)
    with within_limits():
        try:
            found = lockfile.read(path)
        except LockFileError as err:
            assert_is_one_line(err, "bangerbuild.lock")
            raise
        assert lockfile.LockFile(found.entries).text()
    place.assert_nothing_else_was_touched()


def test_the_specimen_is_read(place: Place) -> None:
    path = place.inside / "bangerbuild.lock"
    path.write_bytes(SPECIMEN)
    assert len(lockfile.read(path).entries) == 3
    path.write_bytes(SPECIMEN + b"[x]\n")
    with pytest.raises(LockFileError):
        lockfile.read(path / "x")
