"""Divides what is declared into the shares of the nodes. Reads the files that go along, and the secrets."""

from __future__ import annotations

import base64
import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild import __version__, graph
from bangerbuild.cluster.host_files import HostFiles
from bangerbuild.cluster.share import Share, packed
from bangerbuild.errors import ManifestError, Problem
from bangerbuild.host.secrets import SecretError
from bangerbuild.leases import PLACEMENT
from bangerbuild.model import HostPath, StepId
from bangerbuild.pipeline import expanded
from bangerbuild.resolving.lockfile import LockFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bangerbuild.cluster.host_files import HostObject
    from bangerbuild.cluster.share import ShareOptions
    from bangerbuild.declared import VM, Image, Manifest
    from bangerbuild.formats.digest import DigestCache
    from bangerbuild.host.secrets import SecretOrigin
    from bangerbuild.model import Secret, Step
    from bangerbuild.pipeline import Loaded


@dataclass(frozen=True)
class Parcel:
    """What goes to one node."""

    share: bytes
    objects: Mapping[str, HostObject]
    """By their keys: what the share needs to be there."""


@dataclass(frozen=True)
class Division:
    """All shares of one run.

    Args:
        loaded: what is declared on all nodes.
        lock: what its sources stand for.
        options: how the work is done.
        run: names the run.
        stores: the store of each node; a relative path counts from where its worker was started.
        cache: of the digests of host files; None: each is read.
    """

    loaded: Loaded
    lock: LockFile
    options: ShareOptions
    run: str
    stores: Mapping[str, str]
    cache: DigestCache | None = field(default=None, repr=False)
    built: Mapping[str, Collection[str]] | None = None
    """Images that nodes build, and nothing else; None: all is done."""

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The nodes on which there is anything to do, in their order."""
        if not self.loaded.request.targets:
            return tuple(self.loaded.manifest.nodes)
        return tuple(node for node in self.loaded.manifest.nodes if self._targets(node))

    def images_of(self, node: str) -> frozenset[str]:
        """The names of the images that a node needs."""
        return frozenset(self._images(self._vms.get(node, ())))

    def has_vms(self, node: str) -> bool:
        """Whether a VM is placed there."""
        return bool(self._vms.get(node))

    def parcel(self, node: str) -> Parcel:
        """What goes to a node.

        Raises:
            SourceError: a file that goes along can't be read.
        """
        found = self._manifest(node)
        numbers, table = self._secrets(found)
        share = Share(
            self.run,
            node,
            __version__,
            self.stores[node],
            tuple(map(self._portable, self.loaded.request.manifests)),
            found,
            self._lock(found).text(),
            replace(self.options, targets=self._targets(node), replace=self._own(node, self._replaced)),
            table,
        )
        objects: dict[str, HostObject] = {}

        def key_of(path: HostPath) -> str:
            one = self._files.object_of(path)
            objects[one.key] = one
            return one.key

        return Parcel(packed(share, key_of, numbers), objects)

    @cached_property
    def secrets(self) -> Mapping[SecretOrigin, bytes]:
        """All secrets that go anywhere, each read once; nothing where they are not needed.

        Raises:
            ManifestError: some can't be read.
        """
        if self.options.work not in {"plan", "apply"}:
            return {}
        found: dict[SecretOrigin, bytes] = {}
        problems: dict[Problem, None] = {}
        for node in self.nodes:
            for secret in _secrets_of(self._wanted_vms(node)):
                if secret.origin in found:
                    continue
                try:
                    found[secret.origin] = secret.origin.read()
                except SecretError as err:
                    one = Problem(secret.file, secret.line, secret.key, err.brief, err.hint)
                    problems[one] = None
        if problems:
            raise ManifestError(tuple(sorted(problems)))
        return found

    def _secrets(self, found: Manifest) -> tuple[dict[object, int], tuple[str, ...]]:
        """The secrets of one node, numbered."""
        numbers: dict[object, int] = {}
        table: list[str] = []
        for secret in _secrets_of(found.vms.values()):
            if secret.origin in self.secrets and secret.origin not in numbers:
                numbers[secret.origin] = len(table)
                table.append(base64.b64encode(self.secrets[secret.origin]).decode())
        return numbers, tuple(table)

    def _manifest(self, node: str) -> Manifest:
        """The part of the manifest that a node needs."""
        whole = self.loaded.manifest
        vms = {vm.name: vm for vm in self._vms.get(node, ())}
        images = self._images(vms.values())
        joined = {vm.network.name for vm in vms.values() if vm.network.name}
        owners = {*(f"vm.{name}" for name in vms), *(f"network.{name}" for name in joined)}
        origins = {owner: self._origins[whole.origins[owner]] for owner in owners if owner in whole.origins}
        return replace(
            whole,
            store=Path(self.stores[node]),
            images=images,
            vms=vms,
            files=(),
            warnings=(),
            networks={name: one for name, one in whole.networks.items() if name in joined},
            absent=(),
            origins=origins,
            fleets={},
            leases={},
            released={},
            nodes={node: whole.nodes[node]},
            moved={name: old for name, old in whole.moved.items() if name in vms},
            node=None,
        )

    def _images(self, vms: Iterable[VM]) -> dict[str, Image]:
        """The images of VMs, and those that these start from."""
        whole = self.loaded.manifest.images
        left = list(dict.fromkeys(vm.image for vm in vms))
        needed: set[str] = set()
        while left:
            name = left.pop()
            if name not in needed:
                needed.add(name)
                sources = (whole[name].rootfs, whole[name].work_seed)
                left += (source.based_on for source in sources if source and source.based_on)
        return {name: image for name, image in whole.items() if name in needed}

    def _lock(self, found: Manifest) -> LockFile:
        """The lock file's part for a node: its images, and the leases of its VMs."""
        held = {table: dict(self._leases_of(table, found.vms)) for table in self.lock.leases}
        return LockFile(
            {key: one for key, one in self.lock.entries.items() if StepId(key).name in found.images},
            {table: given for table, given in held.items() if given and table != PLACEMENT},
            {key: one for key, one in self.lock.pushed.items() if key[0] in found.images},
        )

    def _leases_of(self, table: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
        given = self.lock.leases[table]
        return ((name, given[name]) for name in names if name in given)

    def _portable(self, manifest: Path) -> str:
        """A manifest as the nodes call it, wherever it lies here."""
        return os.path.relpath(manifest.absolute(), self.loaded.request.manifests[0].absolute().parent)

    @cached_property
    def _origins(self) -> Mapping[Path, Path]:
        """The manifests, as the nodes call them."""
        there = set(self.loaded.manifest.origins.values())
        return {manifest: Path(self._portable(manifest)) for manifest in there}

    @cached_property
    def _vms(self) -> Mapping[str, Sequence[VM]]:
        """The VMs of each node."""
        found: defaultdict[str, list[VM]] = defaultdict(list)
        for vm in self.loaded.manifest.vms.values():
            if vm.node:
                found[vm.node].append(vm)
        return found

    def _wanted_vms(self, node: str) -> list[VM]:
        targets = {StepId(one).owner for one in self._targets(node)}
        return [vm for vm in self._vms.get(node, ()) if not targets or f"vm.{vm.name}" in targets]

    @cached_property
    def _steps(self) -> Mapping[str, Sequence[Step]]:
        """All steps, by the VM, image or network that they are of."""
        found: defaultdict[str, list[Step]] = defaultdict(list)
        for step_id, step in self.loaded.whole.items():
            found[StepId(step_id).owner].append(step)
        return found

    @cached_property
    def _files(self) -> HostFiles:
        sources = (source for step in self.loaded.whole.values() for source in step.sources)
        return HostFiles((source for source in sources if source.secret is None), self.cache)

    @cached_property
    def _selected(self) -> frozenset[str]:
        names = expanded(self.loaded.manifest, self.loaded.request.targets)
        return frozenset(graph.selected(self.loaded.whole, names)) if names else frozenset()

    @cached_property
    def _replaced(self) -> frozenset[str]:
        whole = self.loaded.whole
        return frozenset(one for name in self.options.replace for one in graph.matching(whole, name))

    def _targets(self, node: str) -> tuple[str, ...]:
        if self.built is None:
            return self._own(node, self._selected)
        owners = [f"image.{name}" for name in self.built[node]]
        steps = {step.id: step for owner in owners for step in self._steps.get(owner, ())}
        return tuple(graph.immutable(steps))

    def _own(self, node: str, ids: Collection[str]) -> tuple[str, ...]:
        """Those of some steps that are a node's."""
        if not ids:
            return ()
        vms = self._vms.get(node, ())
        networks = {f"network.{vm.network.name}" for vm in vms}
        images = {f"image.{name}" for name in self._images(vms)}
        owners = {*(f"vm.{vm.name}" for vm in vms), *networks, *images}
        return tuple(step.id for owner in owners for step in self._steps.get(owner, ()) if step.id in ids)


def _secrets_of(vms: Iterable[VM]) -> Iterator[Secret]:
    return (file.secret for vm in vms for file in vm.files if file.secret)
