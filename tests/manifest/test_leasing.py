"""Addresses are leased once: the lowest free one, which stays the VM's whatever is edited."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.leases import FILE_NAME
from bangerbuild.resolving.lockfile import LockFile
from tests.manifest.loading import loaded, problems_of, write
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.declared import VM, Manifest

HEAD = """image.ci.rootfs.tar = "root.tar"
[network.lan]
subnet = "10.0.0.0/24"
reserve = ["10.0.0.3", "10.0.0.5-10.0.0.7"]
[network.dmz]
subnet = "10.1.0.0/28"
[defaults]
image = "ci"
network.name = "lan"
"""


def held(given: Mapping[str, Mapping[str, str]]) -> None:
    write(FILE_NAME, LockFile({}, given).text())


def addresses(manifest: Manifest) -> dict[str, str | None]:
    return {name: vm.network.address for name, vm in manifest.vms.items()}


def vms(*names: str, more: str = "") -> str:
    return HEAD + "".join(f"[vm.{name}]\n" for name in names) + more


def test_the_lowest_free_address_is_leased_in_the_order_of_the_manifest() -> None:
    found = loaded(vms("b", "a", "c", more='[vm.d]\nnetwork.address = "10.0.0.8"\n[vm.e]'))
    assert addresses(found) == {
        "b": "10.0.0.2/24",
        "a": "10.0.0.4/24",
        "c": "10.0.0.9/24",
        "d": "10.0.0.8/24",
        "e": "10.0.0.10/24",
    }
    assert found.leases == {
        "network.lan": {"b": "10.0.0.2", "a": "10.0.0.4", "c": "10.0.0.9", "e": "10.0.0.10"}
    }


def test_what_is_leased_is_kept_and_what_others_hold_is_not_given() -> None:
    held({"network.lan": {"a": "10.0.0.9", "gone": "10.0.0.2"}, "network.other": {"x": "10.0.0.4"}})
    found = loaded(vms("b", "a"))
    assert addresses(found) == {"b": "10.0.0.4/24", "a": "10.0.0.9/24"}
    assert found.leases == {"network.lan": {"b": "10.0.0.4"}}


def test_an_address_that_is_given_wins_over_the_lease() -> None:
    held({"network.lan": {"a": "10.0.0.9"}})
    found = loaded(vms(more='[vm.a]\nnetwork.address = "10.0.0.200"'))
    assert (addresses(found), found.leases) == ({"a": "10.0.0.200/24"}, {})


def test_an_address_that_another_vm_holds_is_told_with_both_places() -> None:
    held({"network.lan": {"a": "10.0.0.9"}})
    (problem,) = problems_of(vms("a", more='[vm.b]\nnetwork.address = "10.0.0.9"'))
    assert (problem.file, problem.line, problem.key) == ("vm.toml", 12, "vm.b.network.address")
    assert problem.message == f"address is '10.0.0.9', and 'a' has it in {FILE_NAME}:5"
    assert problem.hint == "give another one; or free it: bangerbuild lock --release a"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.9.0.9", "which is not in 10.0.0.0/24, the subnet of network 'lan'"),
        ("10.0.0.1", "the gateway of network 'lan'"),
        ("10.0.0.255", "the broadcast address of 10.0.0.0/24"),
    ],
)
def test_a_lease_that_fits_no_more_is_told_in_the_lock_file(address: str, why: str) -> None:
    held({"network.lan": {"a": address, "nobody": "10.8.0.1"}})
    (problem,) = problems_of(vms("a"))
    assert (problem.file, problem.line, problem.key) == (FILE_NAME, 5, "network.lan.a")
    assert problem.message == f"'a' has the address '{address}', {why}"
    assert problem.hint == "free it, and the next plan gives another one: bangerbuild lock --release a"


def test_leases_that_fit_no_more_are_one_problem_with_one_command() -> None:
    held({"network.lan": {"a": "10.9.0.9", "b": "10.9.0.8"}})
    template = '[[file]]\nguest = "/a"\ntemplate = true\ncontent = "{{ address }} {{ mac }} {{ vms.b }}"\n'
    (problem,) = problems_of(vms("a", "b") + template)
    fault = "which is not in 10.0.0.0/24, the subnet of network 'lan'"
    assert problem.message == f"'a' has the address '10.9.0.9', {fault}, and 1 more like it"
    end = "free them, and the next plan gives others: bangerbuild lock --release network.lan"
    assert problem.hint == end


def test_a_lease_is_freed_alone_where_its_vm_has_others() -> None:
    held({"network.lan": {"a": "10.9.0.9"}, "network.dmz": {"a": "10.1.0.2"}, "placement": {"a": "n"}})
    (problem,) = problems_of(vms("a"))
    assert str(problem.hint).endswith(": bangerbuild lock --release network.lan.a")


def test_a_lease_of_what_was_reserved_later_stays_and_a_warning_says_so() -> None:
    held({"network.lan": {"a": "10.0.0.6", "b": "10.0.0.8"}})
    found = loaded(vms("a", "b"))
    assert addresses(found) == {"a": "10.0.0.6/24", "b": "10.0.0.8/24"}
    has = f"{FILE_NAME}:5: 'a' has the address '10.0.0.6', which network 'lan' reserves; "
    assert found.warnings == (
        f"{has}free it, and the next plan gives another one: bangerbuild lock --release a",
    )


@pytest.mark.parametrize(
    "fault",
    [
        'network.name = "lam"',
        'network.address = "10.0.0"',
        'network = { name = "dmz", address = "10.0.0.9" }',
    ],
)
def test_a_template_is_not_told_of_an_address_with_a_problem_of_its_own(fault: str) -> None:
    template = (
        '[[vm.a.file]]\nguest = "/a"\ntemplate = true\ncontent = "{{ address }} {{ mac }} {{ vms.a }}"\n'
    )
    (problem,) = problems_of(vms(more=f"[vm.a]\n{fault}\n{template}"))
    assert problem.key.startswith("vm.a.network")


def test_a_full_network_lists_what_may_be_released() -> None:
    taken = {f"old-{number}": f"10.1.0.{number}" for number in range(2, 14)}
    held({"network.dmz": taken})
    text = vms().replace('"lan"', '"dmz"') + "[vm.a]\n[vm.b]\n[vm.c]\n"
    (problem,) = problems_of(text)
    assert problem.message == "network 'dmz' (10.1.0.0/28) has no address left for vm.b and 1 more"
    assert problem.hint is not None
    assert "; or free 8 of the 12 that no VM here uses: bangerbuild lock --release old-10" in problem.hint
    assert problem.hint.count("--release") == 8


def test_a_manifest_without_networks_does_not_look_at_leases() -> None:
    write(FILE_NAME, '[network.lan]\na = "1"\n')
    assert loaded('image.ci.rootfs.tar = "root.tar"\n[vm.a]\nimage = "ci"').leases == {}


# --- whatever is edited


# as many as the smaller network has addresses: none is freed
names = st.lists(st.sampled_from([f"r-{number:02}" for number in range(13)]), unique=True, max_size=12)
edits = st.tuples(names, names, st.sampled_from(["lan", "dmz"]))


def edited(first: list[str], second: list[str], network: str) -> str:
    """Two fleets, of which the second may move between networks; no name is in both."""
    others = [name for name in second if name not in first]
    return HEAD + (
        f"[fleet.a]\nnames = {first}\n[fleet.b]\nnames = {others}\n"
        f'vm.network.name = "{network}"\n[fleet.m]\nmatrix = {{ x = {first[:3]} }}\nname = "m-{{{{ x }}}}"\n'
    )


@settings(SHARED_FIXTURES, max_examples=25)
@given(st.lists(edits, min_size=2, max_size=5))
def test_no_edit_of_fleets_moves_a_lease_or_changes_another_vm(
    steps: list[tuple[list[str], list[str], str]],
) -> None:
    Path(FILE_NAME).unlink(missing_ok=True)
    given: dict[str, dict[str, str]] = {}
    before: dict[tuple[str, str | None], VM] = {}
    for step in steps:
        found = loaded(edited(*step))
        for network, new in found.leases.items():
            assert not new.keys() & given.get(network, {}).keys()
            given.setdefault(network, {}).update(new)
        held(given)
        again = loaded(edited(*step))
        assert (again.vms, again.leases) == (found.vms, {})  # a clean checkout with this lock file
        stay = {(vm.name, vm.network.name): vm for vm in found.vms.values()}
        for vm in stay.values():
            assert vm.network.name is not None
            assert vm.network.address is not None
            assert vm.network.address.partition("/")[0] == given[f"network.{vm.network.name}"][vm.name]
        assert {key: before[key] for key in before if key in stay} == {
            key: stay[key] for key in before if key in stay
        }
        before |= stay
    for network, leases in given.items():
        assert len(set(leases.values())) == len(leases)
        subnet = IPv4Network({"network.lan": "10.0.0.0/24", "network.dmz": "10.1.0.0/28"}[network])
        assert all(IPv4Address(address) in subnet for address in leases.values())


def test_a_renamed_vm_takes_its_lease_along_and_no_other_moves() -> None:
    held({"network.lan": {"a": "10.0.0.2", "old": "10.0.0.9"}})
    found = loaded(HEAD + '[vm.a]\n[vm.b]\n[vm.new]\nrenamed_from = ["older", "old"]\n')
    assert addresses(found) == {"a": "10.0.0.2/24", "b": "10.0.0.4/24", "new": "10.0.0.9/24"}
    assert found.leases == {"network.lan": {"b": "10.0.0.4", "new": "10.0.0.9"}}
    assert found.released == {"network.lan": ("old",)}


def test_a_renamed_vm_with_a_lease_of_its_own_keeps_that() -> None:
    held({"network.lan": {"new": "10.0.0.2", "old": "10.0.0.9"}})
    found = loaded(HEAD + '[vm.new]\nrenamed_from = "old"\n')
    assert (addresses(found), found.leases, found.released) == ({"new": "10.0.0.2/24"}, {}, {})


def test_a_renamed_vm_may_give_itself_the_address_that_it_was_leased() -> None:
    held({"network.lan": {"old": "10.0.0.9"}})
    found = loaded(HEAD + '[vm.new]\nrenamed_from = "old"\nnetwork.address = "10.0.0.9/24"\n')
    assert (addresses(found), found.released) == ({"new": "10.0.0.9/24"}, {"network.lan": ("old",)})


def test_a_lease_that_fits_no_more_is_not_taken_over() -> None:
    held({"network.lan": {"old": "10.9.9.9"}})
    (problem,) = problems_of(HEAD + '[vm.new]\nrenamed_from = "old"\n')
    assert (problem.file, problem.key) == (FILE_NAME, "network.lan.old")
