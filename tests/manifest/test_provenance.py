"""Where a key comes from: the layer that wins, with its file and line."""

from __future__ import annotations

from pathlib import Path

from bangerbuild.manifest import load_merged
from bangerbuild.manifest.provenance import KeyOrigin, origins
from tests.manifest.loading import write

TEXT = """\
include = ["more.toml"]
image.ci.rootfs.tar = "root.tar"
[[mount]]
source = "tmpfs"
target = "/m"
fstype = "tmpfs"
[defaults]
vcpus = 1
guest.hosts = false
[[defaults.file]]
guest = "/a"
content = "defaults"
[fleet.r]
names = ["r-1"]
vm.image = "ci"
vm.guest.sshd = false
[[fleet.r.vm.file]]
guest = "/a"
content = "more"
"""
MORE = "[vm.r-1]\nvcpus = 2\n"


def found() -> dict[str, KeyOrigin]:
    write("more.toml", MORE)
    manifest, (merged,), _ = load_merged([write("vm.toml", TEXT)])
    made = origins(merged, manifest.vms["r-1"], {}, "bangerbuild.lock")
    assert len({one.key for one in made}) == len(made)
    return {one.key: one for one in made}


def test_the_layer_that_wins_is_named_with_its_file_and_line() -> None:
    keys = found()
    said = {key: (one.value, one.said_by, one.place) for key, one in keys.items()}
    assert said["vcpus"] == (2, "override", "more.toml:2")
    assert said["image"] == ("ci", "fleet r", "vm.toml:15")
    assert said["guest.hosts"] == (False, "defaults", "vm.toml:9")
    assert said["guest.sshd"] == (False, "fleet r", "vm.toml:16")
    assert said["hostname"] == ("r-1", "built in", "")
    assert said["mount[/m]"] == ("tmpfs of tmpfs", "defaults", "vm.toml:3")
    assert said["file[/a]"] == ("4 bytes", "fleet r", "vm.toml:17")


def test_no_content_of_a_file_is_shown() -> None:
    assert not any("more" in str(one.value) for one in found().values())
    assert Path("more.toml").exists()
