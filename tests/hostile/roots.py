"""Root filesystems that no package manager makes: sound for e2fsck, and set against whoever writes into them.

Made with mke2fs, and with debugfs where a directory of the host can't hold what they shall.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.need import need
from tests.projects import DEBIAN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMMUTABLE = 0x10
APPEND = 0x20
EXTENTS = 0x80000
LONGEST_NAME = "n" * 255
HOST = "/../../outside-of-the-guest"
"""Where a path leads that tries to leave the guest."""


def _nothing(_tree: Path) -> None:
    pass


@dataclass(frozen=True)
class Root:
    """One root filesystem, and what comes of a VM on it."""

    name: str
    change: Callable[[Path], object] = _nothing
    """What is done to a small Debian before mke2fs takes it."""
    requests: tuple[str, ...] = ()
    """What debugfs does to it then."""
    options: tuple[str, ...] = ()
    """Of mke2fs."""
    size: str = "16M"
    error: str | None = None
    """What is said, of what can't be patched; None: it is, and well."""


def make_tree(top: Path) -> None:
    """A small Debian as a directory of the host."""
    for name, content in DEBIAN.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def make_root(root: Root, path: Path) -> Path:
    """The filesystem; e2fsck has nothing to say to it."""
    tree = path.with_suffix(".tree")
    make_tree(tree)
    root.change(tree)
    make_ext4(path, "-d", str(tree), *root.options, size=root.size)
    subprocess.run([need("rm", "coreutils"), "-rf", tree], check=True)
    debugfs_write(path, *root.requests)
    assert_clean(path)
    return path


def debugfs_write(path: Path, *requests: str) -> None:
    """Have debugfs change a filesystem; it exits with 0 whatever it could not do, so look at the outcome."""
    script = path.with_suffix(".debugfs")
    script.write_text("".join(f"{request}\n" for request in requests))
    subprocess.run([need("debugfs"), "-w", "-f", script, path], check=True, capture_output=True)
    script.unlink()


def replace(name: str, target: str) -> Callable[[Path], None]:
    """Put a symlink in a name's place."""

    def change(tree: Path) -> None:
        subprocess.run([need("rm", "coreutils"), "-rf", tree / name], check=True)
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(target)

    return change


def _loop(tree: Path) -> None:
    replace("etc", "/loop")(tree)
    (tree / "loop").symlink_to("etc")


def _etc_is_a_file(tree: Path) -> None:
    (tree / "etc").rename(tree / "real")
    (tree / "etc").write_text("no directory")


def _directory(name: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        (tree / name).unlink(missing_ok=True)
        (tree / name).mkdir()

    return change


def _second_name(tree: Path) -> None:
    os.link(tree / "etc/hostname", tree / "etc/other-name")


def _sparse(name: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        with (tree / name).open("wb") as file:
            file.truncate(1 << 36)

    return change


def _filled(name: str, content: bytes) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        (tree / name).write_bytes(content)

    return change


def _long_names(tree: Path) -> None:
    (tree / "etc" / LONGEST_NAME).write_text("kept")
    (tree / "etc/ssh" / f"ssh_host_{'k' * 246}").write_text("a key")
    (tree / "etc/ssh" / os.fsdecode(b"ssh_host_\xff\x1b[31m\n")).write_text("a key")


def _many_keys(tree: Path) -> None:
    for number in range(1100):
        (tree / f"etc/ssh/ssh_host_{number}").touch()


def _deep(tree: Path) -> None:
    """Deeper than any path that Linux takes, entered step by step."""
    inside = os.open(tree, os.O_RDONLY)
    for _ in range(30):
        os.mkdir(LONGEST_NAME, dir_fd=inside)
        below = os.open(LONGEST_NAME, os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = below
    os.close(inside)


def _chain(links: int) -> Callable[[Path], None]:
    """`/etc/ssh` at the end of so many symlinks."""

    def change(tree: Path) -> None:
        (tree / "etc/ssh").rename(tree / "real")
        for number in range(links - 1):
            (tree / f"l{number}").symlink_to("real" if number == 0 else f"l{number - 1}")
        (tree / "etc/ssh").symlink_to(f"../l{links - 2}")

    return change


def _node(name: str, kind: str) -> tuple[str, ...]:
    return (f"rm /etc/{name}", "cd /etc", f"mknod {name} {kind}")


def _flags(flags: int, *names: str) -> tuple[str, ...]:
    return tuple(f"set_inode_field {name} flags {EXTENTS | flags:#x}" for name in names)


ROOTS = [
    Root("resolv-conf-leads-out", replace("etc/resolv.conf", f"{HOST}/file")),
    Root("hosts-leads-to-the-host", replace("etc/hosts", "../../../../../../../../etc/hosts")),
    Root("ssh-leads-out", replace("etc/ssh", f"{HOST}/ssh")),
    Root("systemd-leads-nowhere", replace("etc/systemd", "/nowhere/at/all")),
    Root("etc-is-a-loop", _loop, error="goes through more than 40 symlinks"),
    Root("etc-leads-to-itself", replace("etc", "etc"), error="goes through more than 40 symlinks"),
    Root("ssh-behind-40-links", _chain(40)),
    Root("ssh-behind-41-links", _chain(41), error="goes through more than 40 symlinks"),
    Root("etc-is-a-file", _etc_is_a_file, error="and is no directory"),
    Root("hostname-is-a-directory", _directory("etc/hostname"), error="'/etc/hostname' is a directory in"),
    Root("fstab-is-a-directory", _directory("etc/fstab"), error="'/etc/fstab' in"),
    Root("hostname-is-a-fifo", requests=_node("hostname", "p")),
    Root("hostname-is-a-device", requests=_node("hostname", "c 1 3")),
    Root("machine-id-is-a-disk", requests=_node("machine-id", "b 8 0")),
    Root("fstab-is-a-fifo", requests=_node("fstab", "p"), error="'/etc/fstab' in"),
    Root("passwd-is-a-device", requests=_node("passwd", "c 1 5"), error="'/etc/passwd' in"),
    Root("files-are-immutable", requests=_flags(IMMUTABLE, "/etc/hostname", "/etc/fstab", "/etc/machine-id")),
    Root("files-are-append-only", requests=_flags(APPEND, "/etc/hostname", "/etc/fstab", "/etc/passwd")),
    Root("directories-are-immutable", requests=_flags(IMMUTABLE | APPEND, "/etc", "/etc/ssh", "/")),
    Root("hostname-has-another-name", _second_name),
    Root("names-of-255-bytes", _long_names),
    Root("more-keys-than-anyone-has", _many_keys, size="32M", error="names that match"),
    Root("fstab-of-64-gib", _sparse("etc/fstab"), error="too much to read at once"),
    Root("passwd-of-lines", _filled("etc/passwd", b"\n" * (5 << 20)), error="too much to read at once"),
    Root("sshd-config-of-one-line", _filled("etc/ssh/sshd_config", b"Include \\" + b"\\" * 900_000)),
    Root("fstab-of-escapes", _filled("etc/fstab", b"\\777\\000 \\057home\xff x\n\r\0" * 20_000)),
    Root("directories-without-end", _deep),
    Root(
        "attributes-everywhere",
        requests=("ea_set /etc user.a b", f"ea_set /etc/hostname user.a {'v' * 3000}"),
    ),
    Root("names-in-inodes", options=("-O", "inline_data")),
    Root("block-maps", options=("-O", "^extent,^64bit,^metadata_csum", "-b", "1024")),
]
"""Not here, as mke2fs takes minutes for it: a directory of 100,000 names, see `test_crowds`."""
