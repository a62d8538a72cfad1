"""A project with an input of every sort, asked the fast way and the slow."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from bangerbuild import pipeline
from bangerbuild.errors import BangerError
from bangerbuild.model import Outcome, Verb
from bangerbuild.model.request import Request, RunOptions
from bangerbuild.uptodate import check, command, record
from tests.fakes import RecordingReporter
from tests.formats.oci.making import directory, layout_of, tarball
from tests.formats.tarmaking import member
from tests.kernel.making import elf
from tests.manifests import KEY
from tests.need import need

MANIFEST = """\
include = ["images.toml", "same.toml", "more/other.toml"]

[defaults]
ssh_authorized_keys = ["key.pub"]

[[file_sync]]
host = "dotfiles"
guest = "/etc/dotfiles"
exclude = ["*.log", "ignored/"]

[vm.web]
image = "tree"
[[vm.web.file_sync]]
host = "~/profile"
guest = "~/.profile"

[[vm.web.file]]
guest = "/etc/app.conf"
template = true
host = "app.j2"

[vm.raw]
image = "tree"
root = { format = "raw" }
work = false
[[vm.raw.disk]]
name = "data"
size = "16MiB"
mount = "/data"

[vm.boxed]
image = "container"

[vars]
greeting = "hello"
"""
IMAGES = """\
[image.tree]
rootfs = { directory = "root", size = "16MiB" }
work_seed = { tar = "seed.tar", size = "16MiB" }
kernel = "vmlinux"
initrd = "initrd"
"""
OTHER = """\
[image.container]
rootfs = { oci = "oci:../layout", size = "16MiB" }
[image.cloned]
rootfs = { ext4 = "../disk.ext4" }
"""
AT_ONCE = RunOptions(jobs=2, lock_seconds=0)


@dataclass(frozen=True)
class Project:
    """A directory with a manifest, and a home beside it."""

    path: Path
    home: Path
    arguments: tuple[str, ...] = ()

    @property
    def store(self) -> Path:
        """The store that its manifest names."""
        return self.path / "build"

    def asked(self) -> command.Asked:
        """What `apply` asks for here; it is the current directory."""
        asked = command.asked(["apply", *self.arguments])
        assert asked is not None
        return asked

    def request(self) -> Request:
        """The same, for the slow way."""
        _, manifests, store, targets, locked, offline, variables, files, node = self.asked().key
        paths = tuple(type(self.path)(name) for name in manifests)
        where = type(self.path)(store) if store else None
        given = tuple((name, value) for name, _, value in (one.partition("=") for one in variables))
        named = tuple(map(type(self.path), files))
        return Request(
            paths,
            where,
            targets,
            locked=locked,
            offline=offline,
            variables=given,
            variable_files=named,
            node=node,
        )

    def is_current(self) -> bool:
        """The fast answer."""
        remembered = record.found(self.asked().key)
        return remembered is not None and check.stands(remembered)

    def is_to_be_kept(self) -> bool:
        """The slow answer: nothing is to be done, and nobody says that anything is wrong."""
        try:
            plan = pipeline.plan(pipeline.load_request(self.request(), lambda _: None))
        except BangerError:
            return False
        return all(action.verb is Verb.KEEP for action in plan.actions)

    def apply(self, *replace: str) -> None:
        """Do all there is to do, once what was changed last can be told from what is changed next."""
        time.sleep(0.03)
        plan, results = pipeline.apply(
            pipeline.load_request(dataclasses.replace(self.request(), replace=replace), lambda _: None),
            options=AT_ONCE,
            reporter=RecordingReporter(),
        )
        failed = [result for result in results if result.outcome is Outcome.FAILED]
        assert not failed, failed
        assert all(action.verb is not Verb.BLOCKED for action in plan.actions)


def remembered(project: Project) -> record.RunRecord:
    """The record of its last run."""
    found = record.found(project.asked().key)
    assert found is not None
    return found


def recorded(project: Project) -> set[Path]:
    """The host paths in it, in every form."""
    found = remembered(project)
    known = {project.path / path for path in (*found.followed[0], *found.links[0])}
    return known | {Path(os.path.normpath(path)) for path in known}


def write_project(path: Path, home: Path) -> None:
    """All that the manifest names."""
    for name in ("root/etc", "dotfiles/vim/deep", "dotfiles/ignored", "more", "elsewhere"):
        (path / name).mkdir(parents=True)
    home.mkdir(exist_ok=True)
    texts = {
        "vm.toml": MANIFEST,
        "images.toml": IMAGES,
        "more/other.toml": OTHER,
        "key.pub": f"{KEY}\n",
        "app.j2": "{{ vars.greeting }} of {{ name }}\n",
        "root/etc/passwd": "root:x:0:0::/root:/bin/sh\n",
        "dotfiles/vimrc": "set nocompatible\n",
        "dotfiles/vim/deep/colours": "blue\n",
        "dotfiles/build.log": "left out\n",
        "dotfiles/ignored/much": "left out\n",
        "elsewhere/profile": "export LANG=C\n",
        "seed/hello": "hello\n",
        "initrd": "070701 an archive\n",
    }
    (path / "seed").mkdir()
    for name, text in texts.items():
        (path / name).write_text(text)
    (path / "same.toml").symlink_to("images.toml")
    (path / "dotfiles/link").symlink_to("vimrc")
    (home / "profile").unlink(missing_ok=True)
    (home / "profile").symlink_to(path / "elsewhere/profile")
    (path / "vmlinux").write_bytes(elf())
    with tarfile.open(path / "seed.tar", "w") as tar:
        tar.add(path / "seed", ".")
    layout_of(path / "layout", tarball(directory(b"etc"), member(b"etc/motd", b"hello\n")))
    subprocess.run([need("mke2fs", "e2fsprogs"), "-q", path / "disk.ext4", "4M"], check=True)


def put_back(path: Path, before: os.stat_result) -> None:
    """Let a file's own times lie about what happened to it."""
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)
