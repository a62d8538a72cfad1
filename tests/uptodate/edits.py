"""What may happen to a project between two runs, each as a function of the project."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from tests.uptodate.project import Project, put_back

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[[Project], object]

HOST_FILES = (
    "key.pub",
    "vmlinux",
    "initrd",
    "seed.tar",
    "disk.ext4",
    "dotfiles/vimrc",
    "dotfiles/vim/deep/colours",
    "elsewhere/profile",
    "root/etc/passwd",
)
"""Files whose content counts, and of which a byte more or less is another content."""
WHITE = ("key.pub",)
"""Where a line more at the end says nothing."""
MANIFESTS = ("vm.toml", "images.toml", "more/other.toml")
ARTIFACTS = (
    "vms/web/root.cow",
    "vms/raw/root.ext4",
    "vms/web/work.ext4",
    "vms/raw/data.ext4",
    "vms/web/firecracker.json",
    "vms/boxed/attach.sh",
    "images/tree/*/rootfs.ext4",
    "images/tree/*/vmlinux",
    "images/container/*/rootfs.ext4",
)


def rewritten(path: Path) -> None:
    """As many other bytes, and the times put back."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    put_back(path, before)


def _placed_unseen(path: Path) -> None:
    """A new file in a directory whose time is put back."""
    before = path.parent.stat()
    path.touch()
    put_back(path.parent, before)


def replaced(path: Path) -> None:
    """Another file in its place, as large and as old."""
    before = path.stat()
    draft = path.with_name("draft")
    shutil.copy2(path, draft)
    rewritten(draft)
    put_back(draft, before)
    draft.rename(path)


def lengthened(path: Path) -> None:
    """A byte more, and the times put back."""
    before = path.stat()
    with path.open("ab") as file:
        file.write(b"\n")
    put_back(path, before)


def edited(name: str, old: str, new: str) -> Edit:
    """A text of the project, with something else in it; the times put back."""

    def edit(project: Project) -> None:
        path = project.path / name
        before = path.stat()
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        put_back(path, before)

    return edit


def of(name: str, change: Callable[[Path], object]) -> Edit:
    """A change of a file of the project."""
    return lambda project: change(project.path / name)


def artifact(pattern: str, change: Callable[[Path], object]) -> Edit:
    """A change of a file of the store."""
    return lambda project: change(next(project.store.glob(pattern)))


def _forgotten(project: Project) -> None:
    if not (project.store / "state.db").exists():  # an edit before this one may have removed it
        return
    with sqlite3.connect(project.store / "state.db") as database:
        database.execute("DELETE FROM records WHERE id = 'vm.web.work'")
    database.close()


def _pointed(path: Path, target: str | Path) -> None:
    before = path.lstat()
    path.unlink()
    path.symlink_to(target)
    put_back(path, before)


def _renamed(project: Project) -> None:
    tree = project.path / "dotfiles/vim"
    before = tree.stat()
    (tree / "deep").rename(tree / "deeq")
    put_back(tree, before)


def _in_place_of_a_directory(project: Project) -> None:
    shutil.move(project.path / "dotfiles/vim", project.path / "elsewhere/vim")
    (project.path / "dotfiles/vim").symlink_to(project.path / "elsewhere/vim")


def _lock_file(project: Project) -> None:
    text = '[image.tree.work_seed]\ntar = "seed.tar"\nsha256 = "' + "0" * 64 + '"\n'
    (project.path / "bangerbuild.lock").write_text(f"version = 1\n{text}")


NOTICED: dict[str, Edit] = {
    **{
        f"{name} {change.__name__}": of(name, change)
        for name in HOST_FILES
        for change in (rewritten, replaced)
    },
    **{f"{name} lengthened": of(name, lengthened) for name in HOST_FILES if name not in WHITE},
    **{f"{name} removed": of(name, Path.unlink) for name in (*HOST_FILES, *MANIFESTS)},
    "manifest: other memory": edited("vm.toml", "[vm.web]\n", '[vm.web]\nmemory = "1GiB"\n'),
    "manifest: other variable": edited("vm.toml", '"hello"', '"hullo"'),
    "template": edited("app.j2", " of ", " by "),
    "manifest: other mount": edited("vm.toml", '"/data"', '"/dat2"'),
    "manifest: larger disk": edited("vm.toml", 'size = "16MiB"', 'size = "32MiB"'),
    "manifest: a VM more": edited("vm.toml", "[vm.boxed]", '[vm.more]\nimage = "tree"\n[vm.boxed]'),
    "include: other size": edited("images.toml", '"root", size = "16MiB"', '"root", size = "17MiB"'),
    "include: other source": edited("more/other.toml", "../disk.ext4", "../elsewhere"),
    "include led elsewhere": lambda project: _pointed(project.path / "same.toml", "nowhere.toml"),
    "include led to another file": lambda project: _pointed(project.path / "same.toml", "key.pub"),
    "tree: new file": of("dotfiles/new", Path.touch),
    "tree: new directory below": of("dotfiles/vim/deep/new", Path.mkdir),
    "tree: renamed with the times put back": _renamed,
    "tree: link led elsewhere": lambda project: _pointed(project.path / "dotfiles/link", "vimrd"),
    "tree: directory moved and linked": _in_place_of_a_directory,
    "tree: file mode": of("dotfiles/vimrc", lambda path: path.chmod(0o600)),
    "tree: directory mode": of("dotfiles/vim/deep", lambda path: path.chmod(0o700)),
    "tree: attribute": of("root/etc/passwd", lambda path: os.setxattr(path, "user.note", b"1")),
    "tree: hard link": of("root/etc/group", lambda path: path.hardlink_to(path.with_name("passwd"))),
    "link of the host led elsewhere": lambda project: _pointed(
        project.home / "profile", project.path / "key.pub"
    ),
    "link of the host to nothing": lambda project: _pointed(project.home / "profile", "nothing"),
    "lock file": _lock_file,
    **{f"{name} removed": artifact(name, Path.unlink) for name in ARTIFACTS},
    "launch file rewritten": artifact("vms/web/firecracker.json", lengthened),
    "image lengthened": artifact("images/tree/*/rootfs.ext4", lengthened),
    "patch interrupted": of("build/vms/web/root.cow.redo", Path.touch),
    "patch interrupted in a directory of old": of("build/vms/web/root.cow.redo", _placed_unseen),
    "growth interrupted": of("build/vms/raw/data.ext4.grow", Path.touch),
    "growth nearly done": of("build/vms/web/work.ext4.undo", Path.touch),
    "database removed": of("build/state.db", Path.unlink),
    "database written by another": _forgotten,
    "store moved away": lambda project: project.store.rename(project.path / "moved"),
    "directory of a VM removed": of("build/vms/boxed", shutil.rmtree),
}
"""What a plan has something to say to."""


def _copied(project: Project) -> None:
    copy = project.path / "copy"
    shutil.copytree(project.store, copy)
    shutil.rmtree(project.store)
    copy.rename(project.store)


def _touched(path: Path) -> None:
    os.utime(path)


UNSEEN: dict[str, Edit] = {
    "somebody's file in the store": of("build/vms/web/note", Path.touch),
    "excluded file": of("dotfiles/build.log", lengthened),
    "excluded directory": of("dotfiles/ignored/much", Path.unlink),
    "somebody's file in an image": of("build/images/tree/note", Path.touch),
    "somebody's file beside the manifest": of("note", Path.touch),
}
"""What the fast answer need not look at."""
YOUNG: dict[str, Edit] = {
    **{f"{name} touched": artifact(name, _touched) for name in ARTIFACTS},
    "store copied in its place": _copied,
}
"""What the store looks into each time, until it is two seconds old."""
UNNOTICED: dict[str, Edit] = {
    **{f"{name} touched": of(name, _touched) for name in (*HOST_FILES, *MANIFESTS)},
    "comment": edited("vm.toml", "[vm.boxed]", "# of no use\n[vm.boxed]"),
    "excluded file more": of("dotfiles/new.log", Path.touch),
    "layout whose tag is pinned": of("layout/oci-layout", Path.unlink),
    "index of a layout whose tag is pinned": of("layout/index.json", rewritten),
    "dead session": of("build/.staging/dead", Path.mkdir),
}
"""What a plan has nothing to say to, although some of it has to be looked into."""
