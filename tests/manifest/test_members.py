"""What the members of a fleet are: defaults, the fleet's keys and overrides, with templates evaluated."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tests.manifest.loading import loaded, problems_of, write
from tests.manifests import KEY

if TYPE_CHECKING:
    from bangerbuild.declared import Manifest

IMAGE = 'image.ci.rootfs.tar = "root.tar"\n'
FLEET = IMAGE + '[fleet.r]\nnames = "r-{1..3}"\n[fleet.r.vm]\nimage = "ci"\n'


def test_a_member_is_what_a_vm_of_the_same_keys_is() -> None:
    keys = """
vcpus = 2
memory = "1GiB"
network = {{ address = "10.0.0.{number}/24", tap = "t{number}" }}
ssh_authorized_keys = ["{key}"]
[[{table}.file]]
guest = "/etc/{number}"
content = "{{{{ literal }}}}"
[[{table}.file_sync]]
host = "tree"
guest = "/srv/{number}"
[[{table}.mount]]
source = "tmpfs"
target = "/m{number}"
fstype = "tmpfs"
[[{table}.disk]]
name = "d{number}"
size = "16MiB"
mount = "/d{number}"
"""
    fleet = loaded(FLEET + keys.format(number="{{ index }}", key=KEY, table="fleet.r.vm")).vms
    written = IMAGE + "".join(
        f'[vm.r-{number}]\nimage = "ci"' + keys.format(number=number, key=KEY, table=f"vm.r-{number}")
        for number in (1, 2, 3)
    )
    assert fleet == loaded(written).vms


def test_defaults_come_first_then_the_fleet_then_the_override() -> None:
    text = (
        FLEET
        + """vcpus = 2
guest = { hosts = false }
[[fleet.r.vm.file]]
guest = "/a"
content = "fleet"
[defaults]
vcpus = 1
memory = "1GiB"
guest = { sshd = false, hosts = true }
[[defaults.file]]
guest = "/a"
content = "defaults"
[[defaults.file]]
guest = "/b"
content = "defaults"
[vm.r-2]
vcpus = 3
[[vm.r-2.file]]
guest = "/a"
content = "override"
"""
    )
    vms = loaded(text).vms
    assert [vm.vcpus for vm in vms.values()] == [2, 3, 2]
    assert {vm.memory_bytes for vm in vms.values()} == {1 << 30}
    assert {(vm.guest.sshd, vm.guest.hosts) for vm in vms.values()} == {(False, False)}
    files = {name: {file.guest: file.content for file in vm.files} for name, vm in vms.items()}
    assert files["r-1"] == {"/a": "fleet", "/b": "defaults"}
    assert files["r-2"] == {"/a": "override", "/b": "defaults"}


def test_a_key_that_an_override_gives_is_not_evaluated_for_it() -> None:
    text = FLEET + 'hostname = "{{ vars.of_nobody }}"\n'
    text += "".join(f'[vm.r-{number}]\nhostname = "h{number}"\n' for number in (1, 2, 3))
    assert [vm.hostname for vm in loaded(text).vms.values()] == ["h1", "h2", "h3"]


def test_an_override_is_no_template_and_takes_the_place_of_lists_and_tables() -> None:
    text = (
        FLEET
        + """drop_mounts = ["/{{ name }}"]
work = { size = "{{ 16 * index }}MiB" }
[vm.r-2]
drop_mounts = ["/x", "/y"]
work = false
"""
    )
    vms = loaded(text).vms
    assert [vm.drop_mounts for vm in vms.values()] == [("/r-1",), ("/x", "/y"), ("/r-3",)]
    assert [vm.work and vm.work.size_bytes for vm in vms.values()] == [16 << 20, None, 48 << 20]


def test_an_override_may_stand_in_another_file_with_paths_and_variables_of_its_own() -> None:
    write("more/a.j2", "{{ vars.a }}")
    write(
        "more/more.toml",
        """[vars]
a = "more"
[[vm.r-1.file]]
guest = "/a"
host = "a.j2"
template = true
""",
    )
    vms = loaded('include = ["more/more.toml"]\n' + FLEET).vms
    assert [file.content for file in vms["r-1"].files] == ["more"]
    assert vms["r-2"].files == ()


def test_all_that_is_known_is_known() -> None:
    names = "name index address prefix gateway mac hostname image vars.a fleet vms['r-2'] axis"
    template = " ".join(f"{{{{ {name} }}}}" for name in names.split()).replace(" {{ axis }}", "")
    text = f"""{FLEET}
network.name = "lan"
hostname = "h-{{{{ index }}}}-{{{{ address | replace('.', '-') }}}}"
[[fleet.r.vm.file]]
guest = "/a"
template = true
content = "{template}"
[vars]
a = "A"
[network.lan]
subnet = "10.0.0.0/24"
"""
    assert loaded(text).vms["r-3"].files[0].content == (
        "r-3 3 10.0.0.4 24 10.0.0.1 06:00:0a:00:00:04 h-3-10-0-0-4 ci A ['r-1', 'r-2', 'r-3'] 10.0.0.3"
    )


def test_a_template_of_many_members_with_a_problem_is_told_with_their_number() -> None:
    text = FLEET.replace("{1..3}", "{1..9}") + 'hostname = "-{{ name }}"'
    found = problems_of(text)
    assert len(found) == 3
    assert (
        found[-1].message
        == "'-r-3' is no host name: its labels are letters, digits and inner hyphens, and 6 more like it"
    )


def without(manifest: Manifest, name: str) -> dict[str, object]:
    return {vm.name: dataclasses.asdict(vm) for vm in manifest.vms.values() if vm.name != name}


def test_a_member_that_leaves_changes_no_other_one() -> None:
    text = FLEET + 'hostname = "h{{ index }}"\nnetwork.address = "10.0.0.{{ index + 1 }}/24"'
    assert without(loaded(text), "r-1") == without(loaded(text.replace("{1..3}", "{2..3}")), "r-1")
