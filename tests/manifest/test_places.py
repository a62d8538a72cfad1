"""Where tables stand: for annotations that point at them."""

from __future__ import annotations

from pathlib import Path

from bangerbuild.declared import Manifest
from bangerbuild.manifest import declared_at

TEXT = """\
[image.small]
rootfs = { directory = "tree" }

[vm]
web.image = "small"

[fleet.r]
names = "r-{1..2}"
[fleet.r.vm]
image = "small"
[vm.r-2]
memory = "1GiB"
"""


def found(path: Path) -> dict[str, tuple[str, int]]:
    manifest = Manifest(Path("/b"), {}, {}, files=(path,), fleets={"r": ("r-1", "r-2")})
    return declared_at(manifest)


def test_each_table_has_its_line_and_a_member_that_of_its_fleet_or_its_own(tmp_path: Path) -> None:
    path = tmp_path / "vm.toml"
    path.write_text(TEXT)
    assert found(path) == {
        "image.small": (str(path), 1),
        "vm.web": (str(path), 5),
        "fleet.r": (str(path), 7),
        "vm.r-1": (str(path), 7),
        "vm.r-2": (str(path), 11),
    }


def test_a_file_that_is_gone_or_damaged_since_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "vm.toml"
    assert found(path) == {}
    path.write_text("[vm")
    assert found(path) == {}
