"""VMs are placed on nodes: what is leased stays, what is short is told, what is new goes to the lock file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import ManifestError
from bangerbuild.leases import FILE_NAME, PLACEMENT
from bangerbuild.manifest import Settings, load
from bangerbuild.resolving.lockfile import LockFile
from tests.manifest.loading import loaded, problems_of, write

if TYPE_CHECKING:
    from bangerbuild.declared import Manifest

HEAD = """[image.ci.rootfs]
tar = "root.tar"
size = "2GiB"
[node.a]
memory = "8GiB"
disk = "20GiB"
[node.b]
memory = "8GiB"
[defaults]
image = "ci"
memory = "2GiB"
"""


def held(given: dict[str, str]) -> None:
    write(FILE_NAME, LockFile({}, {PLACEMENT: given}).text())


def places(manifest: Manifest) -> dict[str, str | None]:
    return {name: vm.node for name, vm in manifest.vms.items()}


def test_vms_are_spread_and_what_is_new_is_to_be_leased() -> None:
    found = loaded(HEAD + '[vm.x]\n[vm.y]\n[vm.z]\nnode = "b"\n')
    assert places(found) == {"x": "a", "y": "a", "z": "b"}
    assert found.leases == {PLACEMENT: {"x": "a", "y": "a"}}
    assert (found.moved, found.released) == ({}, {})


def test_what_is_leased_stays_and_what_is_not_declared_here_keeps_its_line() -> None:
    held({"x": "b", "other": "a"})
    found = loaded(HEAD + "[vm.x]\n[vm.y]\n")
    assert (places(found), found.leases, found.released) == (
        {"x": "b", "y": "a"},
        {PLACEMENT: {"y": "a"}},
        {},
    )


def test_a_node_that_is_gone_moves_its_vms_and_says_where_they_were() -> None:
    held({"x": "gone", "y": "a"})
    found = loaded(HEAD + "[vm.x]\n[vm.y]\n")
    assert (places(found), found.moved) == ({"x": "b", "y": "a"}, {"x": "gone"})
    assert found.leases == {PLACEMENT: {"x": "b"}}


def test_a_vm_that_names_its_node_needs_no_lease() -> None:
    held({"x": "a"})
    found = loaded(HEAD + '[vm.x]\nnode = "b"\n')
    assert (found.leases, found.released, found.moved) == ({}, {PLACEMENT: ("x",)}, {"x": "a"})


def test_a_renamed_vm_takes_its_node_along() -> None:
    held({"old": "b"})
    found = loaded(HEAD + '[vm.new]\nrenamed_from = "old"\n')
    assert (places(found), found.moved) == ({"new": "b"}, {})
    assert (found.leases, found.released) == ({PLACEMENT: {"new": "b"}}, {PLACEMENT: ("old",)})


def test_a_lease_of_a_node_without_the_labels_moves() -> None:
    held({"x": "a"})
    text = HEAD.replace("[node.b]", '[node.b]\nlabels = ["ssd"]') + '[vm.x]\nplacement.labels = ["ssd"]\n'
    assert (places(loaded(text)), loaded(text).moved) == ({"x": "b"}, {"x": "a"})


def test_all_are_placed_anew_where_that_is_asked_for() -> None:
    held({"x": "b", "y": "b", "z": "b"})
    write("vm.toml", HEAD + "[vm.x]\n[vm.y]\n[vm.z]\n")
    found = load(settings=Settings(is_rebalanced=True))
    assert (places(found), found.moved) == ({"x": "a", "y": "b", "z": "a"}, {"x": "b", "z": "b"})


def test_a_name_on_two_lines_is_told_with_both() -> None:
    write(FILE_NAME, 'version = 1\n[placement]\nx = "a"\nx = "b"\n')
    (problem,) = problems_of(HEAD + "[vm.x]\n")
    assert (problem.file, problem.line, problem.key) == (FILE_NAME, 4, "placement.x")
    assert problem.message == "'x' has 'b' here, and 'a' in line 3"


def test_what_no_node_has_room_for_is_named_with_what_it_needs_and_what_is_free() -> None:
    (problem,) = problems_of(HEAD + '[vm.x]\nmemory = "16GiB"\n[vm.y]\n')
    assert (problem.line, problem.key) == (12, "vm.x")
    assert problem.message == (
        "no node has room for vm.x (needs 1 vcpus, 16 GiB of memory, 2 GiB of disk); "
        "free are on a 6 GiB of memory, 18 GiB of disk; on b 8 GiB of memory"
    )
    assert problem.hint == "give a node more, or add one"


def test_what_would_fit_if_others_moved_is_told_how() -> None:
    held({"x": "a", "y": "b"})
    text = HEAD + '[vm.x]\n[vm.y]\n[vm.z]\nmemory = "7GiB"\n'
    (problem,) = problems_of(text)
    assert problem.hint == (
        "give a node more, or add one; or place all VMs anew, which moves some: bangerbuild lock --rebalance"
    )
    with pytest.raises(ManifestError):
        load()
    assert places(load(settings=Settings(is_rebalanced=True))) == {"x": "b", "y": "b", "z": "a"}


def test_vms_that_name_a_node_which_is_too_small_are_told_there() -> None:
    (problem,) = problems_of(HEAD + '[vm.x]\nnode = "a"\nmemory = "7GiB"\n[vm.y]\nnode = "a"\n')
    assert (problem.line, problem.key) == (5, "node.a.memory")
    assert problem.message == (
        "node 'a' has 8 GiB of memory, 20 GiB of disk, and the VMs that name it need "
        "2 vcpus, 9 GiB of memory, 4 GiB of disk: vm.x, vm.y"
    )


def test_the_disks_of_a_vm_count_at_what_they_may_grow_to() -> None:
    disks = '[vm.x]\nwork.size = "3GiB"\nroot.size = "4GiB"\n'
    disks += '[[vm.x.disk]]\nname = "d"\nsize = "10GiB"\nmount = "/d"\n'
    (problem,) = problems_of(
        HEAD.replace('"20GiB"', '"16GiB"').replace("[node.b]", "[node.b]\ndisk = 1") + disks
    )
    assert "vm.x (needs 1 vcpus, 2 GiB of memory, 17 GiB of disk)" in problem.message


def test_a_root_of_unknown_size_counts_as_nothing_and_is_warned_of() -> None:
    found = loaded(HEAD.replace('size = "2GiB"\n', "") + "[vm.x]\n[vm.y]\nroot.format = 'snapshot'\n")
    (warning,) = found.warnings
    assert warning.startswith("a disk of vm.x, vm.y counts as nothing on its node: ")
    assert not loaded(HEAD + "[vm.x]\n").warnings


def test_what_is_leased_is_read_again_as_it_was_written() -> None:
    first = loaded(HEAD + "[vm.x]\n[vm.y]\n[vm.z]\n")
    write(FILE_NAME, LockFile({}, first.leases).text())
    assert LockFile({}, first.leases).text().splitlines()[-4:] == [
        "[placement]",
        'x = "a"',
        'y = "b"',
        'z = "a"',
    ]
    again = loaded(HEAD.replace("[node.a]", '[node."0"]\n[node.a]') + "[vm.z]\n[vm.y]\n[vm.x]\n")
    assert (places(again), again.leases, again.moved) == ({"z": "a", "y": "b", "x": "a"}, {}, {})
