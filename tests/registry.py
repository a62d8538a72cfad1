"""Registries on loopback, Debian's docker-registry: open, behind a password, or with a certificate."""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import DEVNULL
from typing import TYPE_CHECKING

from tests.need import need
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

USER, PASSWORD = "someone", "secret"
CONFIGURATION = """\
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: "{storage}"}}
  delete: {{enabled: {deletes}}}
http:
  addr: "127.0.0.1:0"
  {tls}
{auth}
"""


@dataclass(frozen=True)
class Registry:
    """One that runs, and the files by which a user's skopeo finds its way to it."""

    address: str
    place: Path
    is_private: bool = False
    certificate: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    """What a user's environment says of it; no credentials."""

    def name(self, rest: str) -> str:
        """A reference to what it holds, such as `team/app:1`."""
        return f"docker://{self.address}/{rest}"

    def push(self, source: str, rest: str, *options: str) -> None:
        """Has skopeo copy an image into it."""
        credentials = [f"--dest-creds={USER}:{PASSWORD}"] if self.is_private else []
        certificates = [f"--dest-cert-dir={self.certificate.parent}"] if self.certificate else []
        configuration = f"--registries-conf={self.environ['CONTAINERS_REGISTRIES_CONF']}"
        command = [need("skopeo"), configuration, "copy", *credentials, *certificates, *options]
        subprocess.run([*command, source, self.name(rest)], check=True, capture_output=True)

    def log_in(self) -> Path:
        """Writes an authfile for it, as `skopeo login` does."""
        path = self.place / "auth.json"
        options = [f"--authfile={path}", f"--username={USER}", f"--password={PASSWORD}", "--tls-verify=false"]
        subprocess.run([need("skopeo"), "login", *options, self.address], check=True, capture_output=True)
        return path


@contextmanager
def running_registry(
    place: Path, *, is_private: bool = False, has_certificate: bool = False, deletes: bool = False
) -> Iterator[Registry]:
    """A registry that keeps its files in `place`, an empty directory, and ends with the context."""
    certificate = _certificate(place) if has_certificate else None
    configuration = place / "config.yml"
    tls = f'tls: {{certificate: "{certificate}", key: "{place / "key.pem"}"}}' if certificate else ""
    auth = _auth(place) if is_private else ""
    words = {"storage": place / "storage", "deletes": str(deletes).lower(), "tls": tls, "auth": auth}
    configuration.write_text(CONFIGURATION.format(**words))
    command = [need("docker-registry"), "serve", str(configuration)]
    log = place / "log"
    with (
        log.open("wb") as said,
        subprocess.Popen(command, stdout=DEVNULL, stderr=said, cwd=place) as process,
    ):
        try:
            address = _address(process, log)
            yield Registry(address, place, is_private, certificate, _environ(place, address, certificate))
        finally:
            process.terminate()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where it listens, as its log says."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search("listening on ([0-9.]+:[0-9]+)", log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"docker-registry did not start: {log.read_text()}")


def _environ(place: Path, address: str, certificate: Path | None) -> dict[str, str]:
    path = place / "registries.conf"
    insecure = "false" if certificate else "true"
    path.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = {insecure}\n')
    return {"HOME": os.environ["HOME"], "CONTAINERS_REGISTRIES_CONF": str(path)}


def _auth(place: Path) -> str:
    command = [need("htpasswd", "apache2-utils"), "-Bbn", USER, PASSWORD]
    (place / "htpasswd").write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return f'auth: {{htpasswd: {{realm: test, path: "{place / "htpasswd"}"}}}}'


def _certificate(place: Path) -> Path:
    """For 127.0.0.1, signed by itself."""
    directory = place / "certificates"
    directory.mkdir()
    path = directory / "own.crt"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(place / "key.pem"), "-out", str(path)]
    subprocess.run(
        [need("openssl"), "req", "-x509", *options, *names, *files], check=True, capture_output=True
    )
    return path
