"""Project directories, built in process; and disks as other programs see them."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild import pipeline, store
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.qcow2_store import Qcow2Store
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.model import Outcome, Verb
from bangerbuild.model.request import Request, RunOptions
from tests.disk.ext4_tools import assert_clean, debugfs
from tests.fakes import RecordingReporter
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bangerbuild.errors import BangerError
    from bangerbuild.model import Action, Json, Plan, Reason, Result, Step

ROOTFS_BYTES = 24 << 20

DEBIAN: Mapping[str, str | bytes] = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n",
    "etc/group": "root:x:0:\nwww-data:x:33:\n",
    "etc/fstab": "# the image's own\nLABEL=old / ext4 defaults 0 1\n/dev/sdb /home ext4 defaults 0 2\n",
    "etc/hostname": "image\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\n",
    "etc/ssh/ssh_host_rsa_key": "the image's private key\n",
    "etc/ssh/ssh_host_rsa_key.pub": "the image's public key\n",
    "usr/lib/systemd/systemd": b"\x7fELF",
    "usr/sbin/sshd": b"\x7fELF",
}
"""As much of a Debian as the patches look at."""


def write_tar(target: Path, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> Path:
    """A tarball of files and symlinks, all root's."""
    with tarfile.open(target, "w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, to in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, to
            archive.addfile(entry)
    return target


def write_small(directory: Path, manifest: str) -> Path:
    """A manifest, and the directory `tree` for the image of its VMs; the manifest's path."""
    (directory / "tree/etc").mkdir(parents=True)
    (directory / "tree/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    path = directory / "vm.toml"
    path.write_text(manifest)
    return path


@dataclass
class Project:
    """A directory with a `vm.toml` and what it names."""

    directory: Path
    warnings: list[str] = field(default_factory=list)
    """Of the last apply."""
    offline: bool = False

    @property
    def store(self) -> Path:
        return self.directory / "build"

    def write(self, manifest: str) -> None:
        (self.directory / "vm.toml").write_text(manifest)

    def request(self, *replace: str) -> Request:
        return Request((self.directory / "vm.toml",), replace=replace, offline=self.offline)

    def plan(self) -> dict[str, Action]:
        """The plan's actions by their ids."""
        return by_id(pipeline.plan(pipeline.load_request(self.request(), self.warnings.append)))

    def apply(self, *replace: str, keep_going: bool = True) -> dict[str, Result]:
        """Build; the results by their ids."""
        reporter = RecordingReporter()
        run_options = RunOptions(jobs=2, keep_going=keep_going, lock_seconds=0)
        _, results = pipeline.apply(
            pipeline.load_request(self.request(*replace), self.warnings.append),
            options=run_options,
            reporter=reporter,
        )
        return self._ended(reporter, results)

    def _ended(self, reporter: RecordingReporter, results: Sequence[Result]) -> dict[str, Result]:
        self.warnings = [text for event, text in reporter.events if event == "warning"]
        return {result.id: result for result in results}

    def build(self, *replace: str) -> None:
        """Build, and nothing may fail."""
        failed = [result.error for result in self.apply(*replace).values() if result.error]
        errors = [
            error.brief if error.details is None else f"{error.brief}\n{error.details}" for error in failed
        ]
        assert errors == [], errors

    def error(self, step_id: str) -> BangerError:
        """Build; the error of the step that has to fail."""
        error = self.apply()[step_id].error
        assert error is not None, f"{step_id} did not fail"
        return error

    def blocked(self, step_id: str) -> dict[str, Json]:
        """Plan and build; the reason of the step that both block, in the same words, and that is not run."""
        action = self.plan()[step_id]
        assert action.verb is Verb.BLOCKED, action
        (reason,) = reasons(action)
        reporter = RecordingReporter()
        loaded = pipeline.load_request(self.request(), self.warnings.append)
        plan, results = pipeline.apply(
            loaded, options=RunOptions(jobs=2, keep_going=True, lock_seconds=0), reporter=reporter
        )
        assert reasons(by_id(plan)[step_id]) == [reason]
        assert self._ended(reporter, results)[step_id].outcome is Outcome.SKIPPED
        return reason

    def foretold(self, step_id: str) -> str:
        """Plan; what the step is known to fail with, which blocks it."""
        action = self.plan()[step_id]
        assert action.verb is Verb.BLOCKED, action
        return str(action.reasons[-1].facts["message"])

    def artifact(self, step_id: str, number: int = 0) -> Path:
        """What the last run of a step made."""
        return self.store / store.read(self.store).records[step_id].artifacts[number]

    def facts(self, step_id: str) -> dict[str, Json]:
        """What the last run of a step remembers."""
        return dict(store.read(self.store).records[step_id].facts)

    def image(self, name: str = "debian") -> Path:
        """The newest rootfs of an image."""
        return self.artifact(f"image.{name}.rootfs")

    def cow(self, vm: str = "web") -> Path:
        return self.store / "vms" / vm / "root.cow"

    def base(self, vm: str = "web") -> Path:
        """The image that a VM's record names."""
        return self.store / str(self.facts(f"vm.{vm}.root")["base"])

    def guest(self, vm: str = "web") -> Disk:
        """What a VM's root looks like once its store is merged into its base."""
        target = self.directory / f"{vm}-merged.ext4"
        target.unlink(missing_ok=True)
        return Disk(merge(self.base(vm), self.cow(vm), target))

    def as_guest(self, vm: str = "web") -> GuestSession:
        """A guest that writes to its root."""
        return GuestSession(self.base(vm), self.cow(vm))


class GuestSession:
    """Writes to a store as a running guest does, in place; used in a with block."""

    def __init__(self, base: Path, cow: Path) -> None:
        self._base = RawFile(base)
        self._store = SnapshotStore(self._base, cow, writable=True)
        self._disk = Filesystem(self._store, writable=True, now=1_700_000_000)

    def __enter__(self) -> Filesystem:
        return self._disk

    def __exit__(self, *_: object) -> None:
        self._disk.close()
        self._store.close()
        self._base.close()


class Qcow2Session:
    """Writes to a qcow2 root as a running guest does; used in a with block."""

    def __init__(self, base: Path, root: Path) -> None:
        self._root = root
        self._base = RawFile(base)
        os.truncate(root, root.stat().st_size + 2 * self._base.size_bytes)
        self._store = Qcow2Store(self._base, root, writable=True)
        self._disk = Filesystem(self._store, writable=True, now=1_700_000_000)

    def __enter__(self) -> Filesystem:
        return self._disk

    def __exit__(self, *_: object) -> None:
        self._disk.close()
        self._store.close()
        self._base.close()
        os.truncate(self._root, self._store.used_bytes)


def by_id(plan: Plan) -> dict[str, Action]:
    return {action.id: action for action in plan.actions}


def reasons(action: Action) -> list[dict[str, Json]]:
    """An action's reasons as `plan --json` shows them."""
    return [reason.to_json() for reason in action.reasons]


def merge(base: Path, cow: Path, target: Path) -> Path:
    """Base and store put together as the kernel does (drivers/md/dm-snap-persistent.c), by another parser."""
    subprocess.run([need("cp", "coreutils"), "--sparse=always", base, target], check=True)
    target.chmod(0o600)
    with cow.open("rb") as store_file, target.open("r+b") as merged:
        magic, valid, version, sectors = struct.unpack("<4I", store_file.read(16))
        assert (magic, valid, version) == (0x70416E53, 1, 1)
        size = sectors * 512
        area = 1
        while area:
            pairs = struct.iter_unpack("<2Q", os.pread(store_file.fileno(), size, area * size))
            area += size // 16 + 1
            for old, new in pairs:
                if new == 0:
                    area = 0
                    break
                os.pwrite(merged.fileno(), os.pread(store_file.fileno(), size, new * size), old * size)
        merged.truncate(base.stat().st_size)
    return target


@dataclass(frozen=True)
class Found:
    """What debugfs says of an inode."""

    type: str
    mode: str
    owner: str
    links: int
    size: int
    target: str | None
    mtime: int


class Disk:
    """A raw ext4 seen by e2fsprogs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def assert_clean(self) -> None:
        assert_clean(self.path)

    def read(self, guest: str) -> bytes:
        assert self.exists(guest), f"{guest} is not there"
        return debugfs(self.path, f'cat "{guest}"')

    def text(self, guest: str) -> str:
        return self.read(guest).decode()

    def exists(self, guest: str) -> bool:
        return b"Inode:" in debugfs(self.path, f'stat "{guest}"')

    def names(self, guest: str) -> set[str]:
        """The names in a directory, but for `.` and `..`."""
        lines = debugfs(self.path, f'ls -p "{guest}"').decode().splitlines()
        return {line.split("/")[5] for line in lines if line} - {".", "..", ""}

    def stat(self, guest: str) -> Found:
        """The inode under that name itself."""
        said = debugfs(self.path, f'stat "{guest}"').decode()
        assert "Inode:" in said, f"{guest} is not there"

        def one(pattern: str) -> str:
            found = re.search(pattern, said)
            assert found is not None, said
            return found[1]

        target = re.search(r'Fast link dest: "(.*)"', said)
        return Found(
            type=one(r"Type: (\w+)"),
            mode=one(r"Mode: +(\d+)"),
            owner=":".join((one(r"User: +(\d+)"), one(r"Group: +(\d+)"))),
            links=int(one(r"Links: (\d+)")),
            size=int(one(r"Size: (\d+)")),
            target=target[1] if target else None,
            mtime=int(one(r"mtime: 0x([0-9a-f]+)"), 16),
        )

    def inode(self, guest: str) -> int:
        """The inode's number."""
        found = re.search(r"Inode: (\d+)", debugfs(self.path, f'stat "{guest}"').decode())
        assert found is not None, f"{guest} is not there"
        return int(found[1])

    def superblock(self, field: str) -> str:
        """What debugfs calls so, such as `Free blocks`."""
        (line,) = [
            line
            for line in debugfs(self.path, "stats -h").decode().splitlines()
            if line.startswith(f"{field}:")
        ]
        return line.split(":", 1)[1].strip()

    def dump(self, to: Path) -> Path:
        """The whole tree, put into a directory of the host by debugfs."""
        to.mkdir()
        subprocess.run(
            [need("debugfs"), "-R", f"rdump / {to}", str(self.path)], check=True, capture_output=True
        )
        return to


def kinds(steps: list[Step]) -> list[str]:
    """The ids of declared steps."""
    return [step.id for step in steps]


def codes(given: tuple[Reason, ...]) -> list[str]:
    return [reason.code.value for reason in given]
