"""Layers of a new disk: their order, and the keys by which disks share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.layers import Layers, OwnLayer, SharedLayer, Written, write, write_shared
from tests.disk.ext4_tools import assert_clean, debugfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.disk.opened import OpenedDisk


def shared(name: str, size_bytes: int = 0) -> SharedLayer[str]:
    def make(disk: OpenedDisk) -> str:
        disk.write_file("/last", name.encode())
        disk.write_file(f"/{name}", b"shared")
        return name

    return SharedLayer(name, make, size_bytes)


def own(**files: bytes) -> OwnLayer[str, str]:
    def make(disk: OpenedDisk, below: tuple[str, ...]) -> str:
        for name, content in files.items():
            disk.write_file(f"/{name}", content)
        return "+".join(below)

    return OwnLayer("own", tuple((f"/{name}", content) for name, content in files.items()), make)


def test_what_is_shared_comes_first_and_what_it_returned_is_told(disk: Path) -> None:
    layers = Layers((shared("a"), shared("b")), own(last=b"own"))
    with RawFile(disk, writable=True) as blocks, Filesystem(blocks, writable=True, now=1) as filesystem:
        assert write(filesystem, layers) == Written(("a", "b"), "a+b")
    assert_clean(disk)
    assert [debugfs(disk, f"cat /{name}") for name in ("a", "b", "last")] == [b"shared", b"shared", b"own"]


def test_the_shared_layers_can_be_written_by_themselves(disk: Path) -> None:
    with RawFile(disk, writable=True) as blocks, Filesystem(blocks, writable=True, now=1) as filesystem:
        assert write_shared(filesystem, Layers((shared("a"), shared("b")), own(x=b""))) == ("a", "b")
    assert debugfs(disk, "cat /last") == b"b"


def test_the_key_of_all_shared_layers_is_theirs_in_their_order() -> None:
    one, other = (shared("a", 5), shared("b", 7)), (shared("b"), shared("a"))
    assert Layers(one, own()).shared_key == Layers(one, own(x=b"1")).shared_key
    assert Layers(one, own()).shared_key != Layers(other, own()).shared_key
    assert Layers((), own()).shared_key == ()
    assert (Layers(one, own()).shared_bytes, Layers((), own()).shared_bytes) == (12, 0)


@pytest.mark.parametrize(
    ("content", "is_alike"),
    [(b"x", True), (b"y" * 4096, True), (b"y" * 4097, False), (b"", False)],
)
def test_own_layers_share_a_template_where_their_files_take_as_many_blocks(
    content: bytes, *, is_alike: bool
) -> None:
    key: Callable[[bytes], object] = lambda data: own(name=data).template_key(4096)  # noqa: E731
    assert (key(b"web") == key(content)) == is_alike


def test_another_name_or_key_is_another_template() -> None:
    assert own(a=b"x").template_key(4096) != own(b=b"x").template_key(4096)
    layer = own(a=b"x")
    assert OwnLayer("other", layer.files, layer.write).template_key(4096) != layer.template_key(4096)
