"""Manifests of tests, written into the current directory and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import ManifestError
from bangerbuild.manifest import load

if TYPE_CHECKING:
    from bangerbuild.declared import VM, Manifest
    from bangerbuild.errors import Problem

WEB = 'image.debian.rootfs.tar = "root.tar"\n[vm.web]\nimage = "debian"\n'


SEED = '[image.seeded]\nrootfs.tar = "root.tar"\nwork_seed = { tar = "root.tar", size = "256MiB" }\n'


PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"


FULL_VM = """\
[image.debian.rootfs]
tar = "root.tar"
[vm.web]
image = "debian"
vcpus = 2
memory = "1GiB"
hostname = "Web.example.org"
drop_mounts = ["/srv"]
[vm.web.root]
format = "snapshot"
size = "8GiB"
on_new_base = "keep"
[vm.web.guest]
sshd = false
[vm.web.network]
address = "172.16.0.10/24"
gateway = "172.16.0.1"
dns = ["1.1.1.1", "9.9.9.9"]
mac = "06:00:AC:10:00:0A"
tap = "vm7"
mode = "cmdline"
[[vm.web.file]]
guest = "~/app.conf"
content = "port = 80\\n"
mode = "4755"
owner = "app:1000"
[[vm.web.file_sync]]
host = "tree"
guest = "/opt/tree"
mode = "0600"
exclude = ["*.pyc", ".git"]
[[vm.web.mount]]
source = "//nas/my share"
target = "/mnt/my share"
fstype = "cifs"
options = ["ro", "nofail"]
dump = 1
pass = 2
"""


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def loaded(text: str) -> Manifest:
    return load([write("vm.toml", text)])


def vm(text: str, name: str = "web") -> VM:
    """The VM of a manifest whose image is already there."""
    return loaded('[image.debian]\nrootfs = { tar = "root.tar" }\n' + text).vms[name]


def problems(*paths: Path) -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        load(paths)
    return caught.value.problems


def problems_of(text: str) -> tuple[Problem, ...]:
    return problems(write("vm.toml", text))
