"""`vm.X.root.patch`: everything that makes a shared image this VM's own, written into its root."""

from __future__ import annotations

import posixpath
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import formats, ledger_lines
from bangerbuild.errors import FilesystemError
from bangerbuild.guest import defaults, fstab
from bangerbuild.guest.paths import normal
from bangerbuild.guest.placement import ROOT, Placement
from bangerbuild.guest.sshd import AUTHORIZED_KEYS
from bangerbuild.model import StepId
from bangerbuild.steps import disks, guest_kernel, labels, ledger, patching, root, root_layers, views
from bangerbuild.steps.capacity import Room
from bangerbuild.steps.disk_patch import DiskPatch
from bangerbuild.tree import GuestEdits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bangerbuild.declared import VM, GuestDefaults, Image, Manifest, Mount, Network
    from bangerbuild.disk.formats.format import DiskFormat
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.guest.view import GuestView
    from bangerbuild.model import Json, View, Workspace


@dataclass(frozen=True, kw_only=True)
class RootPatch(DiskPatch):
    """One VM's patch: the guest defaults, and the files, keys and file_syncs that land on its root."""

    kind: ClassVar[str] = "root-patch"
    part: ClassVar[str] = "root"
    format: ClassVar[int] = 2

    hostname: str
    guest: GuestDefaults
    network: Network
    drop_mounts: tuple[str, ...]
    keep_mounts: tuple[str, ...]
    disk_mounts: tuple[Mount, ...] = field(metadata={"key": "disk"})
    declared_mounts: tuple[Mount, ...] = field(metadata={"key": "mount"})
    root_format: str = field(metadata={"recipe": False})
    """As it is declared; what counts is the root that is there."""
    boot: tuple[str, ...] = field(metadata={"recipe": False})
    """The steps of kernel and initrd, if the root asks something of a kernel."""
    has_keys: bool = field(metadata={"recipe": False})  # only for warnings: the keys may be on another disk

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM."""
        for vm in manifest.vms.values():
            placement = Placement.of(vm)
            yield cls(
                name=vm.name,
                image=vm.image,
                place=placement.place(ROOT, _tmpfs(vm)),
                authorized_keys=vm.authorized_keys if placement.lands_on(AUTHORIZED_KEYS, ROOT) else (),
                files=tuple(file for file in vm.files if placement.lands_on(file.guest, ROOT)),
                file_syncs=tuple(sync for sync in vm.file_syncs if placement.lands_on(sync.guest, ROOT)),
                hostname=vm.hostname,
                guest=vm.guest,
                network=_in_guest(vm.network),
                drop_mounts=vm.drop_mounts,
                keep_mounts=vm.keep_mounts,
                disk_mounts=placement.fstab(),
                declared_mounts=vm.mounts,
                root_format=vm.root.format,
                boot=_boot(manifest, vm),
                has_keys=vm.has_keys,
                room=_room(vm, manifest.images[vm.image]),
            )

    @override
    def _inputs_with(self, disk: str) -> tuple[str, ...]:
        """The image is the one that the root stands on."""
        return (disk,)

    @property
    @override
    def waits_for(self) -> tuple[str, ...]:
        """The kernel and its initrd say whether they have what the root asks for."""
        return (*super().waits_for, *self.boot)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What goes into fstab."""
        return (*self.disk_mounts, *self.declared_mounts)

    @property
    def disk_labels(self) -> tuple[str, ...]:
        """The labels of the disks beside the root."""
        return tuple(mount.source.removeprefix("LABEL=") for mount in self.disk_mounts)

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """Fill a root that this job made; bring one that is there up to date.

        A root that no guest has written to is made anew first, so that it has the same bytes whatever was
        declared before. A guest's, and one that this job grew, is brought up to date as it is.
        """
        artifact = workspace.artifact(self.changes)
        if workspace.is_new(artifact):
            self._fill(workspace)
            return {}
        if workspace.remakes_disk:
            root.make(workspace, artifact, workspace.facts(self.changes))
            self._fill(workspace)
            return {}
        return super().run(workspace)

    @property
    @override
    def enlarged(self) -> str:
        """A root that has the size of its image has its inodes too."""
        is_own = formats.named(self.root_format).size.is_of_filesystem
        return self.changes if is_own else StepId.image(self.image, "rootfs")

    def _fill(self, workspace: Workspace) -> None:
        """Write everything into a root that holds no more than its image."""
        with self.telling_what_to_enlarge():
            self._filled(workspace)

    def _filled(self, workspace: Workspace) -> None:
        base = disks.base_of(workspace, self.changes).name
        disk_format, stored = disks.stored(workspace, self.changes)
        now, label = _on_drives(workspace, base, disk_format), labels.of_image(workspace, base)
        syncs = self.file_syncs
        with workspace.using(("trees", syncs), lambda: patching.shared_trees(workspace, syncs)) as trees:
            identity = defaults.identity_changes(self, now, trees.paths)
            wanted = self.revealed(workspace).wanted(now, trees.paths)
            alike, own = defaults.split(self, GuestEdits.joined((identity, wanted)), trees.paths)
            for warning in own.warnings:
                workspace.warn(warning)
            lines = ledger.of_changes(wanted.changes)
            layers = root_layers.layers(
                self,
                now,
                alike=alike,
                trees=trees,
                own=own.changes,
                lines=lines,
                epoch=workspace.epoch,
                labels=label,
            )
            written = disk_format.fill(stored, layers, self.place, workspace)
        for warning in (
            *root_layers.warnings(written),
            *guest_kernel.warnings(workspace, self.boot, disk_format, now),
        ):
            workspace.warn(warning)
        lines = {**root_layers.lines(written), **lines}
        ledger.refuse_different(written.own, lines, stored.name)
        workspace.wrote(lines)

    @override
    def _guest_warnings(self, view: View, synced: Collection[str], *, is_new: bool) -> tuple[str, ...]:
        """Those about the image too, if that is made already."""
        artifact = view.artifact(StepId.image(self.image, "rootfs")) if is_new else self.image_artifact(view)
        if artifact is None or not _is_there(view, artifact):
            return super()._guest_warnings(view, synced, is_new=is_new)
        disk_format = formats.named(self.root_format) if is_new else disks.stored(view, self.changes)[0]
        now = _on_drives(view, artifact, disk_format)
        identity = defaults.identity_changes(self, now, synced) if is_new else GuestEdits()
        of_kernel = guest_kernel.warnings(view, self.boot, disk_format, now)
        return (*identity.warnings, *self.wanted(now, synced).warnings, *of_kernel)

    @override
    def new_places(self, image: views.ImageView, trees: patching.Trees) -> dict[str, bool]:
        """The defaults' places too, where the image is odd enough."""
        declared = super().new_places(image, trees)
        if not image.once("odd defaults", lambda _: _has_odd_defaults(image)):
            return declared
        lines = ledger.of_changes(self.wanted(image, trees.paths).changes)
        return declared | {path: ledger_lines.is_directory(line) for path, line in lines.items()}

    @override
    def wanted(self, now: GuestView, synced: Collection[str]) -> GuestEdits:
        """The guest's defaults, and what is declared."""
        return defaults.changes(self, now, synced)

    @override
    def _image_view(self, view: View, disk: OpenedDisk) -> GuestView:
        disk_format, _ = disks.stored(view, self.changes)
        artifact = self.image_artifact(view)
        return _on_drives(view, artifact, disk_format) if artifact else views.ImageView(disk)

    @override
    def guest_now(self, image: GuestView, disk: OpenedDisk) -> GuestView:
        """The image, but for the users and groups that the root has now."""
        return views.RootView(image, disk)


def _is_there(view: View, image: str) -> bool:
    """Whether an image is made, looked up once for all of its VMs."""
    return view.shared(("is there", image), lambda: nullcontext(view.path(image).is_file()))


def _in_guest(network: Network) -> Network:
    """Without what is the host's alone: the guest never sees the tap device."""
    return replace(network, tap=None) if network.tap else network


def _room(vm: VM, image: Image) -> Room | None:
    rule = formats.named(vm.root.format).size
    size_bytes = vm.root.size_bytes if rule.is_of_filesystem else None
    if size_bytes is None and (rule.is_of_clone or not rule.is_of_filesystem):
        size_bytes = image.rootfs.known_bytes
    return None if size_bytes is None else Room(size_bytes, is_empty=False)


def _boot(manifest: Manifest, vm: VM) -> tuple[str, ...]:
    asks = formats.named(vm.root.format).kernel_modules
    return guest_kernel.boot_steps(manifest, vm.image) if asks else ()


def _on_drives(view: View, image: str, disk_format: DiskFormat) -> GuestView:
    """An image as the patch of a root of this format reads it."""
    attachment, shared = disk_format.attachment(disk_format.suffix, image), disks.shared_view(view, image)
    if attachment.is_mounted and len(attachment.drives) == 1:
        return shared
    return views.OnDrives(shared, count=len(attachment.drives), is_mounted=attachment.is_mounted)


def _tmpfs(vm: VM) -> frozenset[str]:
    """Where a tmpfs will hide whatever lies on the root below it."""
    if not vm.guest.fstab or any(normal(file.guest) == fstab.PATH for file in vm.files):
        return frozenset()
    return _tmpfs_of(vm.mounts)


@lru_cache(1024)
def _tmpfs_of(mounts: tuple[Mount, ...]) -> frozenset[str]:
    return frozenset(normal(mount.target) for mount in fstab.with_tmpfs(mounts) if mount.fstype == "tmpfs")


def _has_odd_defaults(image: views.ImageView) -> bool:
    """Whether an image has a directory where a file of the defaults may come, or a file on the way to one."""
    return any(_is_odd(image, path) for path in sorted(defaults.OWN_PATHS))


def _is_odd(image: views.ImageView, path: str) -> bool:
    try:
        above = image.is_directory(posixpath.dirname(path))
        return above is False or image.is_directory(path) is True
    except FilesystemError:
        return True
