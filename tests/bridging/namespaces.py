"""A network namespace of its own for each test: devices, routes, rules and sysctls as on another host."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bangerbuild.bridging.files import files
from tests.need import lacking, need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.bridging.bridge import Bridge

SYSCTLS = "grep -rs '' /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf"


@dataclass(frozen=True)
class Namespace:
    """One that is there."""

    name: str

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in it; the caller judges the exit code."""
        return subprocess.run(
            [need("ip", "iproute2"), "netns", "exec", self.name, need("sh"), "-c", command],
            capture_output=True,
            text=True,
            check=False,
        )

    def ask(self, command: str) -> str:
        """What a line of shell prints that must succeed."""
        done = self.run(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def listed(self, what: str) -> Any:  # noqa: ANN401  # JSON of ip
        """What `ip -j` says."""
        return json.loads(self.ask(f"ip -j {what}") or "[]")

    def state(self) -> dict[str, Any]:
        """All that a script may have changed, the handles of rules included."""
        return {
            **{what: self.listed(what) for what in ("link", "-4 addr", "-4 route show table all", "tuntap")},
            "rules": self.ask("nft -j list ruleset"),
            "sysctls": sorted(self.ask(SYSCTLS).splitlines()),
        }


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A new one; it takes root, bridges and tap devices."""
    if os.geteuid() != 0:
        lacking("a network namespace with devices takes root")
    need("nft", "nftables")
    command = (need("ip", "iproute2"), "netns")
    made = Namespace(f"bangerbuild-{uuid.uuid4().hex[:12]}")
    added = subprocess.run([*command, "add", made.name], capture_output=True, text=True, check=False)
    if added.returncode:
        lacking(f"no network namespace: {added.stderr.strip()}")
    try:
        made.ask("ip link set lo up")
        if made.run("ip tuntap add dev t0 mode tap && ip link delete t0").returncode:
            lacking("no tap devices here")
        yield made
    finally:
        subprocess.run([*command, "delete", made.name], check=True)


def written(directory: Path, bridge: Bridge, user: int = 65534) -> Path:
    """The directory of a network, as it is made for this user, with its files."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in files(bridge, user):
        (directory / file.name).write_text(file.content)
        (directory / file.name).chmod(file.mode)
    os.chown(directory, user, -1)
    return directory
