"""The runs in which the power fails, and what leads to each.

A scene is what brings an empty project to where the run begins, the command, and a few words on how it ends.
What must be there in the end is what the same run leaves when no power fails; of the scenes that are kill
drills too, that is judged by what they declare.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import tomli_w

from bangerbuild.disk.formats import FORMATS
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.tree import ALONE
from tests.drills.drill import NOTHING_DONE
from tests.drills.scenes import (
    APPLY,
    IMAGE,
    SCENES,
    Declared,
    base_of,
    write_as_guest,
    write_tree,
    written_by_guest,
)
from tests.fakes import EPOCH
from tests.projects import write_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.drills.running import Runner
    from tests.drills.trees import Tree

URL_MANIFEST = """
image.far.rootfs.url = "http://{address}/root.tar"
image.far.rootfs.size = "16MiB"
[vm.web]
image = "far"
work.size = "16MiB"
guest = {{ sshd = false, network = false }}
root = {{ format = "raw", size = "16MiB" }}
"""


OVERLAY_MANIFEST = """
image.tiny.rootfs = {{ directory = "tree", size = "16MiB", overlay_init = true }}
[vm.web]
image = "tiny"
guest = {{ sshd = false, network = false }}
root = {{ format = "overlay", size = "{size}" }}
network.dns = ["{dns}"]
file = [{files}]
"""
PROGRAMS = ("sh", "mount", "mkdir", "cat", "sleep", "pivot_root")


@dataclass(frozen=True)
class Scene:
    """A run, what leads to it, and how it is known to have come to its end."""

    name: str
    prepare: Callable[[Path, Runner, str], None]
    """Bring an empty directory to where the run begins. It is given the address of a server of the directory
    `www`, which is beside that one."""
    arguments: tuple[str, ...] = APPLY
    theirs: tuple[str, ...] = ()
    """The disks that hold what a guest wrote, before and after."""
    disks: Mapping[str, Tree] | None = None
    """What each disk has to hold in the end, where that is declared; else what a run without a cut leaves."""
    once_more: tuple[str, ...] = APPLY
    """What is run after the run, and finds nothing to do."""
    nothing_to_do: re.Pattern[bytes] = NOTHING_DONE
    """What it prints then."""
    nothing_lost: re.Pattern[bytes] | None = None
    """What it prints where nothing of the run is lost but what does no harm, if that is not the same."""
    verify: tuple[str, ...] = ("verify",)
    shares: bool = False
    """Whether the host's filesystem shares blocks."""
    files: tuple[str, ...] = ()
    """Files of the project that have to be in the end what they are after a run without a cut."""


def drilled(name: str, **other: object) -> Scene:
    """A kill drill's scene."""
    scene = SCENES[name]
    return Scene(
        name,
        lambda project, runner, _: scene.prepare(project, runner),
        scene.arguments,
        scene.theirs,
        scene.disks(),
        **other,  # type: ignore[arg-type]
    )


def prepare_adopt(project: Path, runner: Runner, _: str) -> None:
    """Two disks that a guest has written to are put where a new store will have its own."""
    SCENES["patch"].prepare(project, runner)
    Declared().write(project)
    kept = project / "kept"
    (project / "build" / "vms" / "raw").rename(kept)
    shutil.rmtree(project / "build")
    for disk in ADOPTED:
        place = project / "build" / "vms" / disk
        place.parent.mkdir(parents=True, exist_ok=True)
        (kept / place.name).rename(place)
    shutil.rmtree(kept)


ADOPTED = ("raw/work.ext4", "raw/data.ext4")


def prepare_grow_only(project: Path, runner: Runner, _: str) -> None:
    """Two disks are to grow, and nothing else has to be done."""
    Declared().write(project)
    runner.run(*APPLY, project=project).assert_done()
    with written_by_guest(project, "raw/data.ext4") as filesystem:
        write_as_guest(filesystem, is_root=False)
    manifest = Declared().manifest()
    manifest["vm"]["raw"]["disk"][0]["size"] = "24MiB"
    manifest["vm"]["snap"]["root"]["size"] = "48MiB"
    (project / "vm.toml").write_text(tomli_w.dumps(manifest))


def prepare_overlay(project: Path, runner: Runner, _: str) -> None:
    """A root that its guest joins with its image, and has written to, is to grow and to be patched."""

    def declare(size: str, dns: str, *paths: str) -> None:
        files = ", ".join(f'{{ guest = "{path}", content = "{dns}" }}' for path in paths)
        (project / "vm.toml").write_text(OVERLAY_MANIFEST.format(size=size, dns=dns, files=files))

    write_tree(project / "tree", IMAGE)
    for name in PROGRAMS:
        (project / "tree" / "bin" / name).write_text("")
        (project / "tree" / "bin" / name).chmod(0o755)
    declare("16MiB", "1.1.1.1", "/etc/app.conf", "/etc/motd")
    runner.run(*APPLY, project=project).assert_done()
    artifact = "vms/web/root.upper.ext4"
    base = base_of(project, "web/root.upper.ext4")
    root = StoredDisk(project / "build" / artifact, artifact, Base(base, ""))
    with FORMATS["overlay"].transaction(root, ALONE, EPOCH) as disk:
        write_as_guest(disk, is_root=True)
        disk.remove("/bin/busybox")
    declare("24MiB", "9.9.9.9", "/etc/app.conf", "/bin/busybox", "/srv/deep/file")


def prepare_gc(project: Path, runner: Runner, _: str) -> None:
    """Images of before, which nothing stands on, and a data disk that no manifest names any more."""
    SCENES["replace"].prepare(project, runner)
    runner.run(*SCENES["replace"].arguments, project=project).assert_done()


def prepare_destroy(project: Path, runner: Runner, _: str) -> None:
    """Two VMs whose guests have been at work."""
    Declared().write(project)
    runner.run(*APPLY, project=project).assert_done()
    for disk in ("snap/root.cow", "snap/work.ext4"):
        with written_by_guest(project, disk) as filesystem:
            write_as_guest(filesystem, is_root=False)  # what is declared stays as it is


def prepare_recover(project: Path, runner: Runner, _: str) -> None:
    """The records of two VMs whose guests have been at work are damaged."""
    prepare_destroy(project, runner, "")
    database = project / "build" / "state.db"
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("UPDATE records SET body = 'damaged' WHERE id LIKE 'vm.raw.%'")
        opened.commit()


def prepare_move(project: Path, runner: Runner, _: str) -> None:
    """A VM whose guest has been at work has another name now, and an address and a secret."""
    prepare_destroy(project, runner, "")
    manifest = Declared().manifest()
    manifest["network"] = {"lan": {"subnet": "172.16.0.0/24"}}
    manifest["vm"]["moved"] = {
        **manifest["vm"].pop("snap"),
        "renamed_from": "snap",
        "network": {"name": "lan"},
        "file": [{"guest": "/etc/token", "content": {"file": "token"}}],
    }
    (project / "token").write_text("sesame")
    (project / "vm.toml").write_text(tomli_w.dumps(manifest))


def prepare_far(project: Path, runner: Runner, address: str) -> None:  # nothing is to be run
    """An image whose source is elsewhere, which nobody has asked for yet."""
    www = project.parent / "www"
    content = {f"etc/{number}": f"{number}\n" * 3000 for number in range(8)}
    write_tar(
        www / "root.tar", {"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n", **content}
    )
    (project / "vm.toml").write_text(URL_MANIFEST.format(address=address))


def prepare_cache(project: Path, runner: Runner, address: str) -> None:
    """The same, with a lock file and an empty cache."""
    prepare_far(project, runner, address)
    runner.run("lock", project=project).assert_done()
    shutil.rmtree(project / ".cache")


ALL = {
    scene.name: scene
    for scene in (
        drilled("build"),
        drilled("patch"),
        drilled("grow"),
        drilled("qcow2"),
        replace(drilled("grow", shares=True), name="grow-shared"),
        Scene("grow-only", prepare_grow_only, theirs=("raw/data.ext4",)),
        Scene("overlay", prepare_overlay),
        drilled("replace"),
        Scene("adopt", prepare_adopt, theirs=ADOPTED),
        Scene(
            "gc",
            prepare_gc,
            ("gc",),
            once_more=("gc",),
            nothing_to_do=re.compile(rb"Nothing to remove\.\n"),
            nothing_lost=re.compile(
                rb"Nothing to remove\.\n"
                rb"|(?:.* 0 bytes  (?:nothing needs it|left by an interrupted run)\n)+0 bytes freed\.\n"
            ),
            theirs=("snap/work.ext4", "raw/work.ext4", "raw/data.ext4"),
        ),
        Scene(
            "destroy",
            prepare_destroy,
            ("destroy", "--target", "vm.raw", "--yes"),
            theirs=("snap/root.cow", "snap/work.ext4"),
            once_more=("destroy", "--target", "vm.raw", "--yes"),
            nothing_to_do=re.compile(rb"Nothing is left of vm\.raw\.\n"),
            verify=("verify", "--target", "vm.snap"),
        ),
        Scene(
            "move",
            prepare_move,
            theirs=("moved/root.cow", "moved/work.ext4"),
            files=("bangerbuild.lock",),
        ),
        Scene(
            "recover",
            prepare_recover,
            ("recover",),
            theirs=("snap/root.cow", "snap/work.ext4"),
            once_more=("recover",),
            nothing_to_do=re.compile(
                rb"0 records made of .*, \d+ known before, 0 of which nothing can be told\.\n"
            ),
        ),
        Scene(
            "lock",
            prepare_far,
            ("lock",),
            once_more=("lock",),
            nothing_to_do=re.compile(rb"Nothing to do: 1 source locked\.\n"),
            verify=("validate",),
            files=("bangerbuild.lock",),
        ),
        Scene("cache", prepare_cache, files=("bangerbuild.lock",)),
    )
}
