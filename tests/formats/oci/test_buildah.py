"""An image of three layers as buildah commits them, read as umoci unpacks it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.formats.oci.reading import resolved, streamed, unpacked
from tests.formats.oci.test_umoci import assert_same, umoci
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount what buildah builds"),
]


@dataclass
class Buildah:
    """buildah with a storage of its own, on plain directories."""

    place: Path

    def __call__(self, *arguments: str) -> str:
        storage = [f"--root={self.place / 'root'}", f"--runroot={self.place / 'run'}", "--storage-driver=vfs"]
        done = subprocess.run(
            [need("buildah"), *storage, *arguments], check=False, capture_output=True, text=True
        )
        if done.returncode and arguments[0] == "from":
            pytest.skip(f"buildah does not work here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[Buildah]:
    buildah = Buildah(tmp_path / "storage")
    yield buildah
    subprocess.run([need("umount", "mount"), "-q", tmp_path / "storage/root/vfs"], check=False)


def first(top: Path) -> None:
    for name in ("bin", "etc", "var/cache/deep", "home"):
        (top / name).mkdir(parents=True)
    (top / "bin/busybox").write_bytes(os.urandom(5000))
    (top / "bin/busybox").chmod(0o4755)
    (top / "bin/sh").hardlink_to(top / "bin/busybox")
    (top / "bin/ls").symlink_to("busybox")
    (top / "etc/hostname").write_text("a")
    (top / "var/cache/deep/file").write_text("x")
    os.chown(top / "home", 1000, 1000)


def second(top: Path) -> None:
    shutil.rmtree(top / "var/cache")
    (top / "bin/sh").unlink()
    (top / "etc/hostname").write_text("b")
    (top / "home").chmod(0o700)
    (top / "bin/true").hardlink_to(top / "bin/busybox")


def third(top: Path) -> None:
    (top / "var/cache").mkdir()
    (top / "var/cache/new").write_text("y")
    (top / "bin/ls").unlink()
    (top / "etc/hostname").unlink()
    (top / "etc/hostname").mkdir()


def test_an_image_of_buildah_is_what_umoci_unpacks(buildah: Buildah, tmp_path: Path) -> None:
    layout, base = tmp_path / "layout", "scratch"
    for number, change in enumerate((first, second, third), 1):
        container = buildah("from", "--pull-never", base)
        change(Path(buildah("mount", container)))
        buildah("config", "--cmd", "/bin/busybox", "--env", f"STEP={number}", container)
        buildah("umount", container)
        base = f"localhost/image:{number}"
        buildah("commit", "--quiet", container, base)
        buildah("rm", container)
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    buildah("push", f"--signature-policy={policy}", base, f"oci:{layout}:v1")
    umoci("unpack", f"--image={layout}:v1", str(tmp_path / "bundle"))

    image = resolved(layout, "v1")
    found = streamed(layout, "v1")

    assert len(image.layers) == 3
    assert (image.config.cmd, image.config.env) == (("/bin/busybox",), ("STEP=3",))
    assert found["bin/true"].content == found["bin/busybox"].content
    assert not {"bin/sh", "bin/ls", "var/cache/deep"} & set(found)
    wanted = unpacked(tmp_path / "bundle/rootfs")
    del wanted[""]  # which no layer names
    assert_same(found, wanted)
