"""The registry of steps: what is declared of a manifest, in which order, and what kinds there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.disk.formats import FORMATS
from bangerbuild.model import StepId
from bangerbuild.steps import STEPS, declare, is_exclusive, is_patch, of_kind
from bangerbuild.steps.root import RootDisk
from bangerbuild.steps.root_patch import RootPatch

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """[image.b]
rootfs.directory = "tree"
work_seed.directory = "tree"
kernel = "vmlinuz"
initrd = "initrd"
[image.a.rootfs]
directory = "tree"
[vm.z]
image = "b"
work.size = "1GiB"
[vm.y]
image = "a"
[[vm.y.disk]]
name = "data"
size = "1GiB"
mount = "/data"
"""


def test_steps_come_image_by_image_and_then_vm_by_vm_as_the_manifest_has_them(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for name in ("vmlinuz", "initrd"):
        (tmp_path / name).touch()
    (tmp_path / "vm.toml").write_text(MANIFEST)
    steps = declare(manifest.load([tmp_path / "vm.toml"]))
    assert [step.id for step in steps] == [
        "image.b.rootfs",
        "image.b.kernel",
        "image.b.initrd",
        "image.b.work_seed",
        "image.b.work_seed@1GiB",
        "image.a.rootfs",
        "vm.z.root",
        "vm.z.root.patch",
        "vm.z.work",
        "vm.z.work.patch",
        "vm.z.launch",
        "vm.y.root",
        "vm.y.root.patch",
        "vm.y.disk.data",
        "vm.y.disk.data.patch",
        "vm.y.launch",
    ]
    assert {step.kind for step in steps} <= {kind for step in STEPS for kind in step.kinds()}
    ids = {step.id for step in steps}
    assert all(set(step.inputs) <= ids for step in steps)
    assert all(step.changes in step.inputs for step in steps if step.changes)


def test_no_kind_is_of_two_steps() -> None:
    kinds = [kind for step in STEPS for kind in step.kinds()]
    assert len(kinds) == len(set(kinds))
    assert all(of_kind(kind) is step for step in STEPS for kind in step.kinds())


def test_a_root_has_a_kind_for_each_format() -> None:
    assert set(RootDisk.kinds()) == {one.kind for one in FORMATS.values()}


def test_what_another_version_made_is_of_no_kind_and_may_be_a_guests() -> None:
    assert of_kind("from-the-future") is None
    assert not is_patch("from-the-future")
    assert is_exclusive("from-the-future")


@pytest.mark.parametrize(
    ("kind", "patches", "exclusive"),
    [
        ("image-rootfs", False, False),
        ("root-raw", False, True),
        ("root-overlay", False, True),
        *((kind, True, True) for kind in RootPatch.kinds()),
        ("work-disk", False, True),
        ("data-patch", True, True),
        ("launch", False, False),
    ],
)
def test_a_kind_says_whether_it_patches_and_whether_a_guest_may_write_there(
    kind: str, *, patches: bool, exclusive: bool
) -> None:
    assert (is_patch(kind), is_exclusive(kind)) == (patches, exclusive)


def test_every_part_of_an_id_that_the_steps_use_has_an_owner() -> None:
    assert StepId.vm("web", "disk.data.patch").owner == "vm.web"
