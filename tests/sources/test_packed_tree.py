"""What tarballs, cpio archives and squashfs images share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.model import HostPath, Source
from bangerbuild.sources.cpio import CpioSource
from bangerbuild.sources.squashfs import SquashfsSource
from bangerbuild.sources.tar import TarSource
from tests.sources.building import problems, recipe

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.sources.packed_tree import PackedTree


@pytest.mark.parametrize("kind", [CpioSource, SquashfsSource, TarSource])
def test_only_content_and_size_count_in_the_recipe(tmp_path: Path, kind: type[PackedTree]) -> None:
    path = HostPath(tmp_path / "x", "x")
    assert recipe(kind(path, 2 << 30, 8 << 30)) == {"rootfs.size": 2 << 30}
    assert kind(path).reads("rootfs") == (Source(f"rootfs.{kind.word}", path.path, "x"),)
    assert kind(path).lock_words == {kind.word: "x"}
    assert not kind.claims(str(tmp_path / "missing"))
    (problem,) = problems(tmp_path, f'rootfs.{kind.word} = "missing"')
    assert (problem.line, problem.key) == (2, f"image.a.rootfs.{kind.word}")
