"""What is drilled: a project before a run, the run, and what every disk must hold once it came to its end.

Two VMs stand on one small image, `snap` with a snapshot root and a work disk from a seed, `raw` with a raw
root, an empty work disk and a data disk; in two scenes there is `thin` instead, with a qcow2 or an overlay
root. In all scenes but the first build their guests have been at work: each disk that is theirs holds a
sentinel tree, which has to stay as it is, and they edited `/etc/app.conf`.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import tomli_w

from bangerbuild import store
from bangerbuild.disk.formats import FORMATS, overlay
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.guest import overlay_init
from bangerbuild.tree import ALONE
from tests.drills.trees import Node, Tree, directory, file, symlink
from tests.fakes import EPOCH
from tests.manifests import KEY
from tests.projects import GuestSession, Qcow2Session
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.disk.opened import OpenedDisk
    from tests.drills.running import Runner

APPLY = ("apply", "-j1")
DISKS = ("snap/root.cow", "snap/work.ext4", "raw/root.ext4", "raw/work.ext4", "raw/data.ext4")
THIN = {"qcow2": "thin/root.qcow2", "overlay": "thin/root.upper.ext4"}
"""The root of `thin`, by its format."""
MOUNT_POINTS = dict(
    zip((*DISKS, *THIN.values()), ("/", "/root", "/", "/root", "/data", "/", "/"), strict=True)
)

IMAGE: Mapping[str, Node] = {
    "/": directory(),
    "/bin": directory(),
    "/bin/busybox": file(bytes(range(256)) * 1200, 0o755),
    "/data": directory(),
    "/etc": directory(),
    "/etc/fstab": file("# the image's own\n"),
    "/etc/group": file("root:x:0:\n"),
    "/etc/machine-id": file("0123456789abcdef0123456789abcdef\n"),
    "/etc/motd": file("the image's own\n"),
    "/etc/passwd": file("root:x:0:0:root:/root:/bin/sh\n"),
    "/root": directory(0o700),
    "/run": directory(),
    "/tmp": directory(0o1777),
}
OVERLAY_IMAGE: Mapping[str, Node] = {
    **IMAGE,
    **{f"/bin/{name}": file("", 0o755) for name in ("sh", *overlay_init.PROGRAMS)},
}
OVERLAY_INIT: Mapping[str, Node] = {
    **dict.fromkeys(("/proc", "/sys", "/dev", "/sbin"), directory()),
    overlay.INIT: file(overlay_init.script(), 0o755),
}
"""What `overlay_init` puts into it."""
SEED: Mapping[str, Node] = {"/": directory(), "/.profile": file("umask 022\n")}
SYNCED: Mapping[str, Node] = {
    "": directory(0o750),
    "/index.html": file("<h1>one</h1>\n"),
    "/latest": symlink("index.html"),
    "/old.html": file("old\n", 0o600),
    "/pictures": directory(),
    "/pictures/large.png": file(bytes(range(255)) * 900),
}
SENTINEL: Mapping[str, Node] = {
    "/precious": directory(0o750, 1000, 100),
    "/precious/.hidden": file(b"\0\xff" * 3000, 0o400, 1000, 100),
    "/precious/empty": file(b"", 0o640, 1000, 100),
    "/precious/link": symlink("thesis.tex", 1000),
    "/precious/thesis.tex": file(b"\\begin{document}" * 20_000, 0o640, 1000, 100),
    "/notes": file(b"not to be lost\n"),
}
EDITED = file("edited in the guest\n")
FSTAB = """\
# the image's own
# Written by bangerbuild, from here on:
tmpfs /run tmpfs defaults,nodev,nosuid,mode=0755 0 0
tmpfs /tmp tmpfs defaults,nodev,nosuid,mode=1777 0 0
"""
FSTAB_LINES = {
    "snap": "LABEL=work /root ext4 defaults 0 2\n",
    "raw": "LABEL=work /root ext4 defaults 0 2\nLABEL=data /data ext4 defaults 0 2\n",
    "thin": "",
}


@dataclass(frozen=True)
class Declared:
    """What the manifest says, as far as the scenes differ in it, and the host's files beside it."""

    dns: str = "1.1.1.1"
    port: int = 80
    dropped: bool = False
    """Whether what was declared at first is no longer."""
    size: str = "16MiB"
    """Of all disks but the snapshot root, whose store gets twice as much."""
    image: Mapping[str, Node] = field(default_factory=lambda: IMAGE)
    synced: Mapping[str, Node] = field(default_factory=lambda: SYNCED)
    thin: str | None = None
    """The format of the root of one VM that is there instead of the two."""

    def write(self, project: Path) -> None:
        """Put manifest, image tree, seed and synced tree into a project's directory."""
        for name, tree in (("tree", self.image), ("skel", SEED), ("site", self.synced)):
            shutil.rmtree(project / name, ignore_errors=True)
            write_tree(project / name, tree)
        (project / "vm.toml").write_text(tomli_w.dumps(self.manifest()))

    def manifest(self) -> dict[str, Any]:
        """The manifest, to be written as TOML."""
        work = {"size": self.size}
        return {
            "image": {
                "tiny": {
                    "rootfs": {"directory": "tree", "size": "16MiB"},
                    "work_seed": {"directory": "skel", "size": "16MiB"},
                },
                "bare": {"rootfs": {"directory": "tree", "size": "16MiB", **self._overlay_init}},
            },
            "defaults": {
                "guest": {"sshd": False, "network": False},
                "network": {"dns": [self.dns]},
                "work": work,
            },
            "file": self._files(),
            "file_sync": [
                {"host": "site", "guest": guest, "owner": "33:33"} for guest in ("/srv/site", "~/site")
            ],
            "vm": self._two() if self.thin is None else self._thin(self.thin),
        }

    def _thin(self, root_format: str) -> dict[str, Any]:
        """All that would be on a work disk is on the root."""
        return {"thin": {"image": "bare", "work": False, "root": {"format": root_format, "size": self.size}}}

    @property
    def _overlay_init(self) -> dict[str, Any]:
        return {"overlay_init": True} if self.thin == "overlay" else {}

    def _two(self) -> dict[str, Any]:
        return {
            "snap": {
                "image": "tiny",
                "root": {"size": "32MiB" if self.size == "16MiB" else "48MiB"},
                "ssh_authorized_keys": [KEY],
            },
            "raw": {
                "image": "bare",
                "root": {"format": "raw", "size": self.size},
                "disk": [{"name": "data", "size": self.size, "mount": "/data"}],
                "file": [{"guest": "/data/readme", "content": f"{self.port}\n"}],
            },
        }

    def _files(self) -> list[dict[str, str]]:
        files = [
            {"guest": "/etc/app.conf", "content": f"port = {self.port}\n", "mode": "0640", "owner": "0:7"},
            {"guest": "~/.config/tool", "content": f"tool {self.port}\n"},
        ]
        gone = [{"guest": guest, "content": "declared at first\n"} for guest in ("/etc/motd", "/etc/gone")]
        return files if self.dropped else files + gone

    def disks(self) -> dict[str, Tree]:
        """What each disk has to hold if no guest has written to it."""
        synced = {path: owned(node, 33) for path, node in self.synced.items()}
        conf = {"/.config": directory(), "/.config/tool": file(f"tool {self.port}\n")}
        site = under("/site", synced)
        keys = {"/.ssh": directory(0o700), "/.ssh/authorized_keys": file(f"{KEY}\n", 0o600)}
        if self.thin is not None:
            return {THIN[self.thin]: {**self._root("thin", synced), **under("/root", {**conf, **site})}}
        return {
            "snap/root.cow": self._root("snap", synced),
            "snap/work.ext4": {**SEED, **conf, **site, **keys, "/": directory(0o700)},
            "raw/root.ext4": self._root("raw", synced),
            "raw/work.ext4": {"/": directory(0o700), **conf, **site},
            "raw/data.ext4": {"/": directory(), "/readme": file(f"{self.port}\n")},
        }

    def _root(self, name: str, synced: Mapping[str, Node]) -> Tree:
        at_first = file("declared at first\n")
        return {
            **self.image,
            **(OVERLAY_INIT if self.thin == "overlay" else {}),
            **({} if self.dropped else {"/etc/motd": at_first, "/etc/gone": at_first}),
            "/srv": directory(),
            **under("/srv/site", synced),
            "/etc/app.conf": file(f"port = {self.port}\n", 0o640, 0, 7),
            "/etc/fstab": file(FSTAB + FSTAB_LINES[name]),
            "/etc/hostname": file(f"{name}\n"),
            "/etc/hosts": file(f"127.0.0.1 localhost\n127.0.1.1 {name}\n"),
            "/etc/machine-id": file("", 0o444),
            "/etc/resolv.conf": file(f"nameserver {self.dns}\n"),
        }


def under(top: str, tree: Mapping[str, Node]) -> Tree:
    """A tree below another path."""
    return {f"{top}{path}": node for path, node in tree.items()}


def owned(node: Node, uid: int) -> Node:
    return Node(node.mode, node.content, uid, uid)


def write_tree(top: Path, tree: Mapping[str, Node]) -> None:
    """Make a tree on the host; whose it is, is not kept."""
    for path, node in tree.items():
        target = top / path.lstrip("/")
        if node.is_directory:
            target.mkdir()
        elif node.is_symlink:
            target.symlink_to(node.content.decode())
            continue
        else:
            target.write_bytes(node.content)
        target.chmod(node.mode & 0o7777)


@dataclass(frozen=True)
class Scene:
    """A run, and what leads to it."""

    name: str
    before: Declared | None
    """What was built before the guests ran; None: nothing."""
    after: Declared
    """What is declared when the run begins."""
    written_to: tuple[str, ...] = DISKS
    """The disks that a guest has written to."""
    replaced: str | None = None
    """The step that is made anew on purpose, and the disk of it."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command."""
        return APPLY if self.replaced is None else (*APPLY, "--replace", self.replaced)

    @property
    def theirs(self) -> tuple[str, ...]:
        """The disks that hold what a guest wrote, before and after."""
        return tuple(disk for disk in self.written_to if disk != REPLACED.get(self.replaced or ""))

    def prepare(self, project: Path, runner: Runner) -> None:
        """Bring an empty directory to where the run begins."""
        if self.before is not None:
            self.before.write(project)
            runner.run(*APPLY, project=project).assert_done()
            for disk in self.written_to:
                with written_by_guest(project, disk) as filesystem:
                    write_as_guest(filesystem, is_root=MOUNT_POINTS[disk] == "/")
        self.after.write(project)

    def disks(self) -> dict[str, Tree]:
        """What each disk has to hold after the run."""
        trees = self.after.disks()
        for disk in self.theirs:
            trees[disk] |= SENTINEL
            if MOUNT_POINTS[disk] == "/":
                trees[disk]["/etc/machine-id"] = OWN_ID
        return trees


def thin(root_format: str, image: Mapping[str, Node]) -> Scene:
    """The root of `thin` grows and is patched."""
    before = Declared(thin=root_format, image=image)
    after = replace(before, dns="9.9.9.9", port=8080, dropped=True, synced=WITHOUT_OLD, size="24MiB")
    return Scene(root_format, before, after, (THIN[root_format],))


OWN_ID = file("fedcba9876543210fedcba9876543210\n", 0o444)
REPLACED = {"vm.snap.root": "snap/root.cow"}
WITHOUT_OLD = {
    **{path: node for path, node in SYNCED.items() if path != "/old.html"},
    "/index.html": file("<h1>two</h1>\n", 0o640),
    "/new": directory(0o700),
    "/new/page.html": file("new\n"),
}
SCENES = {
    scene.name: scene
    for scene in (
        Scene("build", None, Declared(), ()),
        Scene("patch", Declared(), Declared(dns="9.9.9.9", port=8080, dropped=True, synced=WITHOUT_OLD)),
        Scene("grow", Declared(), Declared(size="24MiB")),
        thin("qcow2", IMAGE),
        thin("overlay", OVERLAY_IMAGE),
        Scene(
            "replace",
            Declared(),
            Declared(image={**IMAGE, "/etc/os-release": file("new\n")}),
            ("snap/root.cow", "snap/work.ext4", "raw/work.ext4", "raw/data.ext4"),
            "vm.snap.root",
        ),
    )
}


@contextmanager
def written_by_guest(project: Path, disk: str) -> Iterator[OpenedDisk]:
    """A disk of a project, to be written as its guest does."""
    path = project / "build" / "vms" / disk
    if path.suffix == ".cow":
        with GuestSession(base_of(project, disk), path) as filesystem:
            yield filesystem
    elif disk == THIN["overlay"]:
        root = StoredDisk(path, f"vms/{disk}", Base(base_of(project, disk), ""))
        with FORMATS["overlay"].transaction(root, ALONE, EPOCH) as joined:
            yield joined
    elif path.suffix == ".qcow2":
        with Qcow2Session(base_of(project, disk), path) as filesystem:
            yield filesystem
    else:
        with as_guest(path) as filesystem:
            yield filesystem


def base_of(project: Path, disk: str) -> Path:
    """The image that a root stands on."""
    vm = disk.split("/", maxsplit=1)[0]
    top = project / "build"
    return top / str(store.read(top).records[f"vm.{vm}.root"].facts["base"])


def write_as_guest(disk: OpenedDisk, *, is_root: bool) -> None:
    """Write what a guest leaves on a disk that is its own."""
    edited = {"/etc/app.conf": EDITED, "/etc/machine-id": OWN_ID} if is_root else {}
    for path, node in {**SENTINEL, **edited}.items():
        if node.is_directory:
            disk.make_directory(path, mode=node.mode & 0o7777, uid=node.uid, gid=node.gid)
        elif node.is_symlink:
            disk.make_symlink(path, node.content.decode(), uid=node.uid)
        else:
            disk.write_file(path, node.content, mode=node.mode & 0o7777, uid=node.uid, gid=node.gid)
