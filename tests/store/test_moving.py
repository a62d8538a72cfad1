"""Records, ids and paths of VMs under other names."""

from __future__ import annotations

from bangerbuild.model import Recipe, Record
from bangerbuild.store import moving

NAMES = {"old": "new", "new": "old"}


def test_ids_and_paths_of_these_vms_change_and_no_others() -> None:
    ids = ("vm.old.root.patch", "vm.new.work", "vm.old2.root", "vm.x.disk.old", "image.old.rootfs", "net.old")
    renamed = [moving.step_id(one, NAMES) for one in ids]
    assert renamed == ["vm.new.root.patch", "vm.old.work", *ids[2:]]
    paths = ("vms/old/root.cow", "vms/old2/old/x", "images/old/0/rootfs.ext4", "vms/old")
    assert [moving.artifact(path, NAMES) for path in paths] == ["vms/new/root.cow", *paths[1:3], "vms/new/"]
    assert [moving.vm_of(one) for one in ids] == ["old", "new", "old2", "x", None, None]


def test_a_record_keeps_what_it_was_made_from() -> None:
    recipe = Recipe("root-patch", {"hostname": "old"}, {"vm.old.root": "f", "image.old.rootfs": "g"}, {}, {})
    before = Record("vm.old.root.patch", recipe, "abc", ("vms/old/root.cow",), {"base": "images/old/0/x"})
    (key, after), *others = moving.records({before.id: before}, {"old": "new"}).items()
    assert (key, after.id, after.artifacts, others) == (
        after.id,
        "vm.new.root.patch",
        ("vms/new/root.cow",),
        [],
    )
    assert after.recipe.inputs == {"vm.new.root": "f", "image.old.rootfs": "g"}
    assert (after.fingerprint, after.facts, after.recipe.fields) == ("abc", before.facts, {"hostname": "old"})
    assert moving.records({key: after}, {"new": "old"}) == {before.id: before}
    assert moving.of_vm({before.id: before, key: after}, "old") == {before.id: before}
