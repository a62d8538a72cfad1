"""`network.X.bridge`: the files that set up a network's bridge, its tap devices and its NAT on the host."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.bridging import files
from bangerbuild.bridging.bridge import Bridge
from bangerbuild.model import ArtifactPath, Reason, ReasonCode, StepId, Verb, Verdict
from bangerbuild.model.artifacts import directory_of
from bangerbuild.model.recovered import Recovered, Stray
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Json, Situation, Source, View, Workspace


def up_script(network: str) -> ArtifactPath:
    """What sets up a network with a bridge, the tap devices of its VMs too."""
    return ArtifactPath.network(network, files.UP)


@dataclass(frozen=True)
class BridgeFiles(Unopened):
    """One network's files: the tool's own, written anew whenever they are not what they should be."""

    kind: ClassVar[str] = "bridge"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = False
    changes: ClassVar[None] = None
    inputs: ClassVar[tuple[str, ...]] = ()
    sources: ClassVar[tuple[Source, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = ()
    stray_table: ClassVar[str] = "network"

    name: str = field(metadata={"recipe": False})
    bridge: str
    address: str = field(metadata={"key": "gateway"})
    """With the prefix length of the subnet."""
    nat: bool
    taps: tuple[str, ...] = field(metadata={"key": "tap"})

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each network with a bridge, with the devices of all VMs of the node that join it."""
        for network in manifest.networks.values():
            if network.bridge is not None:
                here = (vm.network for vm in manifest.vms.values() if manifest.is_here(vm))
                joined = (one for one in here if one.name == network.name)
                taps = tuple(sorted(one.tap for one in joined if one.tap is not None))
                yield cls(network.name, network.bridge, network.gateway_interface, network.nat, taps)

    @property
    @override
    def id(self) -> str:
        return StepId.network(self.name, "bridge")

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return tuple(ArtifactPath.network(self.name, name) for name in files.names(self._bridge))

    @override
    def judge(self, situation: Situation) -> Verdict:
        """Nobody else writes them, so what is not as it should be is written anew."""
        if situation.missing:
            return Verdict(Verb.CREATE, (*situation.changes, Reason(ReasonCode.MISSING)))
        if situation.changes:
            return Verdict(Verb.UPDATE, situation.changes)
        if situation.modified():
            return Verdict(Verb.UPDATE, (Reason(ReasonCode.ARTIFACT_MODIFIED, {"path": self._directory}),))
        return Verdict(Verb.KEEP)

    @override
    def recover(self, view: View, artifacts: tuple[str, ...]) -> Recovered | None:
        """What is there as it would be written today; whatever else is there is written anew."""
        for file in files.files(self._bridge, os.getuid()):
            path = view.path(f"{self._directory}/{file.name}")
            if not path.is_file() or path.read_bytes() != file.content.encode():
                return None
        return Recovered(artifacts)

    @classmethod
    @override
    def stray(cls, name: str, path: Path, artifact: str) -> Stray | None:
        if not files.is_ours(path.name):
            return None
        return Stray(StepId.network(name, "bridge"), cls.kind, Recovered((artifact,)))

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        for file in files.files(self._bridge, os.getuid()):
            target = workspace.create(ArtifactPath.network(self.name, file.name))
            target.write_text(file.content, encoding="utf-8")
            target.chmod(file.mode)
        return {}

    @property
    def _bridge(self) -> Bridge:
        return Bridge(self.name, self.bridge, self.address, self.nat, self.taps)

    @property
    def _directory(self) -> str:
        return directory_of(StepId.network(self.name, "bridge").owner)
