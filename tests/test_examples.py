"""The manifests under examples/vms/: each is valid, is planned, and builds."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.making import RELEASE, bzimage, elf, packed
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conftest import CommandLine

EXAMPLES = Path(__file__).parents[1] / "examples" / "vms"
MANIFESTS = sorted(path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("vm.toml"))

GUEST_FILES: Mapping[str, str | bytes] = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n",
    "etc/group": "root:x:0:\nwww-data:x:33:\n",
    "etc/fstab": "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n",
    "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
    "etc/nginx/nginx.conf": "include /etc/nginx/sites-enabled/*;\n",
    "usr/lib/systemd/systemd": "",
    f"boot/vmlinuz-{RELEASE}": bzimage(packed(elf(), "xz")),
    f"boot/initrd.img-{RELEASE}": b"070701" + bytes(104),
}
"""As much of a Debian as the examples ask for."""

KERNEL_FILES = {"vmlinuz": bzimage(packed(elf(), "xz")), "initrd.img": b"070701" + bytes(104)}

MMDEBSTRAP = """\
#!/bin/sh
for argument; do
    [ "$before" != bookworm ] || exec cp {tarball} "$argument"
    before=$argument
done
"""
"""A stand-in that has no use for a mirror."""


def write_tarball(target: Path) -> None:
    """A stand-in for what mmdebstrap makes; its sbin/init names systemd."""
    with tarfile.open(target, "w") as archive:
        for name, content in GUEST_FILES.items():
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        init = tarfile.TarInfo("./sbin/init")
        init.type, init.linkname = tarfile.SYMTYPE, "../usr/lib/systemd/systemd"
        archive.addfile(init)


@pytest.fixture(params=MANIFESTS, ids=str)
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an example's directory, together with the files its comments say how to make."""
    relative: Path = request.param
    directory = tmp_path / relative.parent
    shutil.copytree(EXAMPLES / relative.parent, directory)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for script, target, programs in SCRIPTS:
        if (directory / "Dockerfile").exists():
            need("buildah")
        if (directory / script).exists():
            for program, package in programs.items():
                need(program, package)
            subprocess.run([f"./{script}", target], cwd=directory, check=True, capture_output=True)
    for name, content in KERNEL_FILES.items():  # of make-kernel, which asks apt
        if (directory / "make-kernel").exists():
            (directory / name).write_bytes(content)
    if not list(directory.glob("make-*")):
        write_tarball(directory / "bookworm.tar")
        stand_in(tmp_path / "bin", directory / "bookworm.tar", monkeypatch)
    return directory


SCRIPTS = (
    ("make-rootfs", "rootfs", {"busybox": "busybox-static"}),
    (
        "make-disk",
        "cloud.qcow2",
        {"busybox": "busybox-static", "sfdisk": "fdisk", "mke2fs": "e2fsprogs", "qemu-img": "qemu-utils"},
    ),
    ("make-image", "image", {"busybox": "busybox-static", "umoci": "umoci"}),
)
"""What the comments of examples say to run first."""


def stand_in(directory: Path, tarball: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a mmdebstrap in front of the real one that gives this tarball."""
    directory.mkdir()
    (directory / "mmdebstrap").write_text(MMDEBSTRAP.format(tarball=tarball))
    (directory / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


def planned(cli: CommandLine, directory: Path) -> dict[str, Any]:
    done = cli("plan", "--json", cwd=directory)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_there_are_examples() -> None:
    assert {path.parent.name for path in MANIFESTS} >= {
        "ci-runners",
        "cloud-image",
        "container",
        "debian-web",
        "demo",
        "dockerfile",
        "matrix",
        "overlay",
        "network",
        "packages",
        "root-formats",
        "two-vms",
        "web-stack",
    }


def test_an_example_is_valid_and_without_warnings(cli: CommandLine, example: Path) -> None:
    done = cli("validate", cwd=example)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_plan_of_an_example_is_to_create_everything(cli: CommandLine, example: Path) -> None:
    plan = planned(cli, example)
    assert {action["action"] for action in plan["actions"]} == {"create"}
    assert plan["summary"]["create"] == len(plan["actions"])


def test_an_example_builds_and_is_current_afterwards(cli: CommandLine, example: Path) -> None:
    need("mke2fs", "e2fsprogs")
    done = cli("apply", cwd=example)
    assert done.returncode == 0, done.stderr
    assert {action["action"] for action in planned(cli, example)["actions"]} == {"keep"}
