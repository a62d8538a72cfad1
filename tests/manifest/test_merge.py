"""A VM's keys are those of its file's defaults, replaced key by key by its own."""

from __future__ import annotations

from bangerbuild.declared import GuestDefaults
from tests.manifest.loading import WEB, loaded, problems_of, vm, write
from tests.manifests import MINIMAL


def test_defaults_are_merged_key_by_key_and_values_and_lists_replaced() -> None:
    found = vm("""
[defaults]
image = "debian"
vcpus = 4
drop_mounts = ["/a", "/b"]
network = { dns = ["1.1.1.1", "8.8.8.8"], gateway = "10.0.0.1" }
guest = { sshd = false, hosts = false }
[vm.web]
vcpus = 2
drop_mounts = ["/c"]
network = { address = "10.0.0.2/24", dns = ["9.9.9.9"] }
guest.hosts = true
""")
    assert found.vcpus == 2
    assert found.drop_mounts == ("/c",)
    assert (found.network.gateway, found.network.dns) == ("10.0.0.1", ("9.9.9.9",))
    assert found.guest == GuestDefaults(sshd=False)


def test_an_empty_list_replaces_that_of_the_defaults() -> None:
    text = '[defaults]\nimage = "debian"\ndrop_mounts = ["/a"]\n[vm.web]\ndrop_mounts = []'
    assert vm(text).drop_mounts == ()


def test_defaults_and_top_level_entries_hold_for_their_own_file_alone() -> None:
    write("other.toml", '[vm.other]\nimage = "debian"')
    manifest = loaded(
        'include = ["other.toml"]\n[[file]]\nguest = "/a"\ncontent = ""\n[defaults]\nvcpus = 8\n' + MINIMAL
    )
    assert (manifest.vms["web"].vcpus, len(manifest.vms["web"].files)) == (8, 1)
    assert (manifest.vms["other"].vcpus, len(manifest.vms["other"].files)) == (1, 0)


def test_a_mistake_in_the_defaults_is_told_once_for_all_vms() -> None:
    vms = "".join(f"[vm.v{number}]\n" for number in range(9))
    found = problems_of(
        WEB + '[defaults]\nimage = "debian"\nmemory = 5\n[[defaults.file]]\nguest = "a"\ncontent = ""\n' + vms
    )
    assert [(problem.line, problem.key) for problem in found] == [
        (6, "defaults.memory"),
        (8, "defaults.file[0].guest"),
    ]
