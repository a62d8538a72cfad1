"""What is declared under load: six VMs with roots of all formats, in manifests that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomli_w

from tests.drills.scenes import IMAGE, SEED, SYNCED, write_tree
from tests.drills.trees import file
from tests.manifests import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.drills.trees import Node

FORMATS = {"a": "snapshot", "b": "snapshot", "c": "qcow2", "d": "raw", "e": "raw", "f": "snapshot"}
"""The format of each VM's root."""
NAMES = ("work.ext4", "data.ext4", "root.ext4", "root.cow", "root.qcow2")
"""Of disks; each VM has some of them."""
LAST = "last.toml"
"""The manifest that holds at the end: each disk has its largest size in it."""


def write(project: Path) -> list[str]:
    """Put the manifests and what they name into a project's directory; the names of the manifests."""
    trees: Mapping[str, Mapping[str, Node]] = {
        "tree": IMAGE,
        "tree2": {**IMAGE, "/etc/motd": file("another image\n")},
        "skel": SEED,
        "site": SYNCED,
        "site2": {**SYNCED, "/index.html": file("<h1>two</h1>\n")},
    }
    for name, tree in trees.items():
        write_tree(project / name, tree)
    manifests = dict(_manifests())
    for name, manifest in manifests.items():
        (project / name).write_text(tomli_w.dumps(manifest))
    return list(manifests)


def _manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "first.toml", _manifest(tuple(FORMATS), port=80)
    yield "dns.toml", _manifest(tuple(FORMATS), port=80, dns="9.9.9.9", site="site2")
    yield "image.toml", _manifest(tuple(FORMATS), port=81, tree="tree2")
    yield "fewer.toml", _manifest(("a", "c", "d"), port=82)
    yield LAST, _manifest(tuple(FORMATS), port=83, size="24MiB", root="48MiB")


def _manifest(
    names: tuple[str, ...],
    *,
    port: int,
    dns: str = "1.1.1.1",
    tree: str = "tree",
    site: str = "site",
    size: str = "16MiB",
    root: str = "32MiB",
) -> dict[str, Any]:
    return {
        "image": {
            "tiny": {
                "rootfs": {"directory": tree, "size": "16MiB"},
                "work_seed": {"directory": "skel", "size": "16MiB"},
            }
        },
        "defaults": {
            "image": "tiny",
            "guest": {"sshd": False, "network": False},
            "network": {"dns": [dns]},
            "root": {"size": root, "on_new_base": "keep"},
            "ssh_authorized_keys": [KEY],
            "work": {"size": size},
        },
        "file": [{"guest": "/etc/app.conf", "content": f"port = {port}\n"}],
        "file_sync": [{"host": site, "guest": "~/site"}],
        "vm": {
            name: {
                "root": {"format": FORMATS[name]},
                "disk": [{"name": "data", "size": size, "mount": "/data"}],
            }
            for name in names
        },
    }
