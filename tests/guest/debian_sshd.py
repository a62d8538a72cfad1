"""The sshd of a real Debian as the judge of a configuration, taken out of the boot tests' tarball."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.boot.account import NOBODY
from tests.boot.debian import ROOTFS, tarball
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIBRARIES = "usr/lib/x86_64-linux-gnu"
TAKEN = ("./usr/sbin/sshd", f"./{LIBRARIES}/*.so*")
CONNECTION = "host=client.example.org,addr=192.0.2.7"


@dataclass(frozen=True)
class Sshd:
    """An unpacked sshd and a host key, in a directory that any user can read."""

    directory: Path
    uid: int | None
    """Who runs it; root's sshd would ask this host for its own users."""

    def settings(self, files: Mapping[str, bytes], user: str) -> dict[str, str]:
        """What `sshd -T` says that holds for a login of `user`, by keyword.

        Args:
            files: the guest's files below /etc/ssh, by path.
            user: a name, that need not exist.
        """
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            Path(name).chmod(0o755)
            for path, content in files.items():
                target = Path(name + path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.replace(b"/etc/ssh/", f"{name}/etc/ssh/".encode()))
            return self._dumped(Path(f"{name}/etc/ssh/sshd_config"), user)

    def _dumped(self, config: Path, user: str) -> dict[str, str]:
        libraries = self.directory / LIBRARIES
        command = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]
        command += [str(self.directory / "usr/sbin/sshd"), "-T", "-f", str(config)]
        command += ["-h", str(self.directory / "key"), "-C", f"user={user},{CONNECTION}"]
        done = subprocess.run(
            command, user=self.uid, group=self.uid, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        settings: dict[str, str] = {}
        for keyword, _, value in (line.partition(" ") for line in done.stdout.splitlines()):
            settings[keyword] = f"{settings[keyword]} {value}" if keyword in settings else value
        return settings


@pytest.fixture(scope="session")
def debian_sshd() -> Iterator[Sshd]:
    """One for all tests."""
    directory = Path(tempfile.mkdtemp(prefix="bangerbuild-sshd-"))
    directory.chmod(0o755)
    with tarfile.open(tarball(ROOTFS)) as archive:
        members = [m for m in archive if any(fnmatch.fnmatchcase(m.name, pattern) for pattern in TAKEN)]
        archive.extractall(directory, members, filter="tar")
    key = directory / "key"
    command = [need("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    uid = NOBODY if os.geteuid() == 0 else None
    if uid is not None:
        os.chown(key, uid, uid)
    yield Sshd(directory, uid)
    shutil.rmtree(directory)
