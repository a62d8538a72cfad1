"""What a guest's disks must hold, as plain dictionaries: the rules of patches, without any disk.

Of directories nothing is said here, and of a run that is killed each disk is as before or as after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.drills.trees import Node, file
from tests.manifests import KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

Files = dict[str, Node]

ROOT, WORK = "root.cow", "work.ext4"
KEYS = "/.ssh/authorized_keys"
IMAGE: Mapping[str, Node] = {
    "/bin/busybox": file(bytes(range(256)) * 20, 0o755),
    "/etc/group": file("root:x:0:\n"),
    "/etc/hostname": file("image\n"),
    "/etc/machine-id": file("0123456789abcdef0123456789abcdef\n"),
    "/etc/motd": file("the image's own\n"),
    "/etc/passwd": file("root:x:0:0:root:/root:/bin/sh\n"),
    "/etc/resolv.conf": file("nameserver 127.0.0.1\n"),
}
IDENTITY = {"/etc/machine-id": file("", 0o444)}
"""What is done once, when a root is made."""


@dataclass(frozen=True)
class Manifest:
    """What is declared."""

    files: Mapping[str, Node] = field(default_factory=dict)
    """By guest path."""
    synced: Mapping[str, Node] = field(default_factory=dict)
    """What lies in the host's directory, by its path there; in the guest it is `/srv/site`."""
    dns: str | None = None
    hostname: str = "web"
    keys: bool = False
    work_mib: int = 16

    def with_(self, **changes: Any) -> Manifest:  # noqa: ANN401  # fields of this class
        """The same with some things declared otherwise."""
        return replace(self, **changes)

    def wanted(self, disk: str) -> Files:
        """The files that a disk shall have."""
        if disk == WORK:
            keys = {KEYS: file(f"{KEY}\n", 0o600)} if self.keys else {}
            own = {path: node for path, node in self.files.items() if path.startswith("/root/")}
            return keys | {path.removeprefix("/root"): node for path, node in own.items()}
        return {
            "/etc/hostname": file(f"{self.hostname}\n"),
            "/etc/hosts": file(f"127.0.0.1 localhost\n127.0.1.1 {self.hostname}\n"),
            **({"/etc/resolv.conf": file(f"nameserver {self.dns}\n")} if self.dns else {}),
            **{f"/srv/site{path}": node for path, node in self.synced.items()},
            **{path: node for path, node in self.files.items() if not path.startswith("/root/")},
        }


@dataclass(frozen=True)
class Disk:
    """One disk of the guest, as it is known to be."""

    name: str
    files: Files = field(default_factory=dict)
    put: Files = field(default_factory=dict)
    """What the last run wanted there."""
    touched: bool = False
    """Whether a guest has written to it; other roots are made anew for each change."""

    def applied(self, manifest: Manifest) -> Disk:
        """The disk after a run."""
        wanted = manifest.wanted(self.name)
        if self.name == ROOT and not self.touched:
            return replace(self, files={**IMAGE, **IDENTITY, **wanted}, put=wanted)
        files = dict(self.files)
        for path in self.put.keys() - wanted.keys() - {KEYS}:
            if files.get(path) == self.put[path]:
                del files[path]
                files |= self._own(path)
        return replace(self, files=files | wanted, put=wanted)

    def _own(self, path: str) -> Files:
        """What the image has at a path."""
        return {path: IMAGE[path]} if self.name == ROOT and path in IMAGE else {}

    def written(self, path: str, node: Node | None) -> Disk:
        """The disk after a guest has written a file, or removed one."""
        files = {name: old for name, old in self.files.items() if name != path}
        return replace(self, files=files if node is None else {**files, path: node}, touched=True)
