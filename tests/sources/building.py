"""Images of a project as a manifest's text gives them, sources by themselves, and a container image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild import manifest
from bangerbuild.errors import ManifestError
from bangerbuild.model import fingerprint
from bangerbuild.resolving import lockfile
from tests.fakes import EPOCH
from tests.formats.oci.making import LayoutMaker, opaque, tarball, whiteout
from tests.formats.tarmaking import member
from tests.projects import Disk

if TYPE_CHECKING:
    from bangerbuild.declared import Image
    from bangerbuild.epoch import Epoch
    from bangerbuild.errors import Problem
    from bangerbuild.model import Json, Pin, Source
    from tests.projects import Project

MIB = 1 << 20
ID = "image.debian.rootfs"
LOWER = tarball(member(b"etc/old", b"old"), member(b"etc/kept", b"kept"), member(b"srv/a", b"a"))
UPPER = tarball(whiteout(b"etc/old"), opaque(b"srv"), member(b"srv/b", b"b"))
BASE = '[image.debian.rootfs]\ntar = "root.tar"\n'
DERIVED = """
[image.web.rootfs]
image = "debian"
[[image.web.file]]
guest = "/etc/motd"
content = "hello\\n"
mode = "0600"
owner = "www-data:www-data"
[[image.web.file_sync]]
host = "site"
guest = "/srv/site"
owner = "33:33"
exclude = ["*.bak"]
"""
"""Two manifests' parts: an image, and one that starts from it and has files of its own."""
CONFIG = {"Env": ["PATH=/bin", "A=b"], "WorkingDir": "/srv", "Entrypoint": ["/bin/app"], "Cmd": ["-v"]}


def built(project: Project, text: str, name: str = "debian") -> Disk:
    """The image that the manifest gives; e2fsck must be content with it."""
    project.write(text)
    project.build()
    disk = Disk(project.image(name))
    disk.assert_clean()
    return disk


def locked(project: Project) -> lockfile.LockFile:
    return lockfile.read(project.directory / "bangerbuild.lock")


def oci(directory: Path) -> Path:
    """A layout with one container image of two layers, `v1`; what is above hides some of what is below."""
    maker = LayoutMaker(directory / "layout")
    return maker.add(maker.image(LOWER, UPPER, config=CONFIG), "v1").path


def assert_merged(disk: Disk) -> None:
    """The image has what the two layers make together."""
    assert disk.text("/etc/kept") == "kept"
    assert not disk.exists("/etc/old")
    assert disk.names("/srv") == {"b"}


@dataclass
class Context:
    """What a source is given while its step runs, or while it is asked; it remembers what it was told."""

    staging: Path = Path()
    pin: Pin | None = None
    artifacts: dict[str, Path] = field(default_factory=dict)
    """Of other steps, by their ids."""
    offline: bool = False
    epoch: Epoch = EPOCH
    asked: list[Source] = field(default_factory=list)
    """What a digest was asked of."""
    told: list[tuple[str, int, int | None]] = field(default_factory=list)

    def digest(self, source: Source) -> str:
        self.asked.append(source)
        return f"digest of {source.written}"

    def artifact(self, step_id: str) -> str:
        return step_id

    def path(self, artifact: str) -> Path:
        return self.artifacts[artifact]

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        self.told.append((what, done_bytes, total_bytes))

    def say(self, what: str, line: str) -> None:
        raise AssertionError(f"no program works for this: {what}, {line}")


def declared(directory: Path, text: str) -> Image:
    """The image `a` of a manifest in that directory; `text` follows its `[image.a]`."""
    (directory / "vm.toml").write_text(f"[image.a]\n{text}")
    return manifest.load([directory / "vm.toml"]).images["a"]


def problems(directory: Path, text: str) -> list[Problem]:
    """What is wrong with it."""
    try:
        declared(directory, text)
    except ManifestError as err:
        return list(err.problems)
    return []


def recipe(source: object) -> dict[str, Json]:
    """What counts of a source's own fields, as the recipe of its step has it."""
    flat: dict[str, Json] = {}
    fingerprint._flatten("rootfs", source, flat)
    return flat
