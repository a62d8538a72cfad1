"""`vm.X.root.patch`: everything that makes a shared image this VM's own, written into its root."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from bangerbuild.guest import defaults, fstab
from bangerbuild.guest.files import GuestEdits
from bangerbuild.guest.paths import normal
from bangerbuild.guest.placement import ROOT, Placement
from bangerbuild.guest.sshd import AUTHORIZED_KEYS
from bangerbuild.steps import disks, ledger, molds, patching, roots, views
from bangerbuild.steps.disk_patch import DiskPatch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bangerbuild.declared import VM, GuestDefaults, Manifest, Mount, Network
    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.guest.files import GuestView
    from bangerbuild.model import Json, Workspace


@dataclass(frozen=True, kw_only=True)
class RootPatch(DiskPatch):
    """One VM's patch: the guest defaults, and the files, keys and file_syncs that land on its root."""

    kind: ClassVar[str] = "root-patch"

    hostname: str
    guest: GuestDefaults
    network: Network
    drop_mounts: tuple[str, ...]
    disk_mounts: tuple[Mount, ...] = field(metadata={"key": "disk"})
    declared_mounts: tuple[Mount, ...] = field(metadata={"key": "mount"})

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM."""
        for vm in manifest.vms.values():
            placement = Placement.of(vm)
            yield cls(
                name=vm.name,
                image=vm.image,
                place=replace(placement.place(ROOT), hidden=_tmpfs(vm)),
                authorized_keys=vm.authorized_keys if placement.lands_on(AUTHORIZED_KEYS, ROOT) else (),
                files=tuple(file for file in vm.files if placement.lands_on(file.guest, ROOT)),
                file_syncs=tuple(sync for sync in vm.file_syncs if placement.lands_on(sync.guest, ROOT)),
                hostname=vm.hostname,
                guest=vm.guest,
                network=replace(vm.network, tap=None),  # a device of the host; the guest never sees it
                drop_mounts=vm.drop_mounts,
                disk_mounts=placement.fstab(),
                declared_mounts=vm.mounts,
            )

    @property
    def changes(self) -> str:
        """See Step."""
        return f"vm.{self.name}.root"

    @property
    def inputs(self) -> tuple[str, ...]:
        """See Step; the image is the one that the root stands on."""
        return (self.changes,)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What goes into fstab."""
        return (*self.disk_mounts, *self.declared_mounts)

    @property
    def likeness(self) -> object:
        """See Step; each has a hostname of its own."""
        return None

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step. A root that no guest has written to is made anew, and gets its identity.

        The same bytes then, whatever was declared before. What all VMs of an image get alike comes first,
        because it is done once for them all.
        """
        artifact = workspace.artifact(self.changes)
        if not workspace.is_new(artifact):
            if workspace.is_staged(artifact) or not workspace.pristine:
                return super().run(workspace)
            roots.make(workspace, artifact, workspace.facts(self.changes))
        now = disks.shared_view(workspace, str(workspace.facts(self.changes)["base"]))
        syncs = self.file_syncs
        with workspace.using(("trees", syncs), lambda: patching.shared_trees(workspace, syncs)) as trees:
            identity = defaults.identity_changes(self, now, trees.paths)
            wanted = self.wanted(now, trees.paths)
            alike, own = defaults.split(self, GuestEdits.joined((identity, wanted)), trees.paths)
            for warning in own.warnings:
                workspace.warn(warning)
            layers = molds.Layers(alike, self, trees, own.changes, now)
            workspace.wrote(molds.write(workspace, layers, ledger.of_changes(wanted.changes)))
        return {}

    def wanted(self, now: GuestView, synced: Collection[str]) -> GuestEdits:
        """The guest's defaults, and what is declared."""
        return defaults.changes(self, now, synced)

    def guest_now(self, image: views.ImageView, disk: Filesystem) -> GuestView:
        """The image, but for the users and groups that the root has now."""
        return views.RootView(image, disk)


def _tmpfs(vm: VM) -> frozenset[str]:
    """Where a tmpfs will hide whatever lies on the root below it."""
    if not vm.guest.fstab or any(normal(file.guest) == fstab.PATH for file in vm.files):
        return frozenset()
    return frozenset(normal(mount.target) for mount in fstab.with_tmpfs(vm.mounts) if mount.fstype == "tmpfs")
