"""All changes to a VM's root: the default ones, the declared files and the SSH keys, in a fixed order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bangerbuild.errors import GuestPathError
from bangerbuild.guest import (
    cloud_init,
    device_waits,
    fstab,
    identity,
    names,
    network,
    network_managers,
    network_scripts,
    root_account,
    sshd,
)
from bangerbuild.guest.devices import Devices
from bangerbuild.guest.network_managers.network_manager import guest_of
from bangerbuild.guest.owners import Owners
from bangerbuild.guest.paths import normal
from bangerbuild.guest.sshd_access import unheard_ports
from bangerbuild.tree import GuestDirectory, GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bangerbuild.declared import FileSync, GuestDefaults, InlineFile, Mount, Network
    from bangerbuild.guest.view import GuestView
    from bangerbuild.tree import GuestChange


OWN_PATHS = frozenset(
    {
        names.HOSTNAME,
        names.HOSTS,
        names.RESOLV_CONF,
        fstab.PATH,
        network_scripts.CONF_PATH,
        sshd.AUTHORIZED_KEYS,
        *network_managers.OWN_PATHS,
    }
)
"""The paths at which the defaults write content that differs between VMs."""


class DeclaredFiles(Protocol):
    """The files that a manifest declares for one disk of a guest."""

    @property
    def authorized_keys(self) -> tuple[str, ...]: ...
    @property
    def files(self) -> tuple[InlineFile, ...]: ...
    @property
    def file_syncs(self) -> tuple[FileSync, ...]: ...


class Declared(DeclaredFiles, Protocol):
    """What a manifest declares for the inside of a guest; `declared.VM` satisfies this."""

    @property
    def hostname(self) -> str: ...
    @property
    def guest(self) -> GuestDefaults: ...
    @property
    def network(self) -> Network: ...
    @property
    def has_keys(self) -> bool: ...
    @property
    def drop_mounts(self) -> tuple[str, ...]: ...
    @property
    def keep_mounts(self) -> tuple[str, ...]: ...
    @property
    def mounts(self) -> tuple[Mount, ...]: ...
    @property
    def disk_labels(self) -> tuple[str, ...]: ...


def changes(vm: Declared, view: GuestView, synced: Collection[str] = ()) -> GuestEdits:
    """The changes that each patch of a VM's root makes, without the content of file_syncs.

    A declared file or file_sync replaces a default at the same guest path.

    Args:
        vm: the VM as declared.
        view: its base image, not its present root: the image's own fstab, sshd_config and passwd are read
            there, so that a second patch requests the same as the first.
        synced: the guest paths of all files of the file_syncs.

    Raises:
        SourceError: the guest does not have an owner.
        FilesystemError: a file of the image can't be read.
    """
    taken = _taken(vm, synced)
    defaults = (_yielding(part, taken) for part in _defaults(vm, view, taken))
    refused = root_account.refusals(view, taken) if vm.guest.sshd and vm.has_keys else ()
    told = (
        *(*refused, *_unmounted(vm, taken), *_unheard(vm, view), *_waits(vm, view, taken)),
        *(cloud_init.unheard_seeds(view, taken) if vm.guest.cloud_init != "keep" else ()),
    )
    return GuestEdits.joined((*defaults, GuestEdits(warnings=told), own_changes(vm, view, synced)))


def split(
    vm: Declared, wanted: GuestEdits, synced: Collection[str] = ()
) -> tuple[tuple[GuestChange, ...], GuestEdits]:
    """Split changes into those that all VMs of an image with the same switches share, and the rest."""
    own = _taken(vm, synced) | OWN_PATHS
    alike = tuple(c for c in wanted.changes if not isinstance(c, GuestDirectory) and c.path not in own)
    rest = tuple(c for c in wanted.changes if isinstance(c, GuestDirectory) or c.path in own)
    return alike, GuestEdits(rest, wanted.warnings)


def own_changes(declared: DeclaredFiles, view: GuestView, synced: Collection[str] = ()) -> GuestEdits:
    """The keys and files that are declared for one disk, without the content of file_syncs.

    Raises:
        SourceError: the guest does not have an owner.
    """
    taken = _taken(declared, synced)
    keys = sshd.authorized_keys(declared.authorized_keys) if declared.authorized_keys else GuestEdits()
    unused = own_warnings(declared, synced)
    return GuestEdits.joined((_yielding(keys, taken), GuestEdits(_files(declared, view), unused)))


def own_warnings(declared: DeclaredFiles, synced: Collection[str] = ()) -> tuple[str, ...]:
    """The warnings of `own_changes`, which no guest has to be read for."""
    if declared.authorized_keys and sshd.AUTHORIZED_KEYS in _taken(declared, synced):
        return (f"ssh_authorized_keys is not used: a declared file stands at '{sshd.AUTHORIZED_KEYS}'",)
    return ()


def identity_changes(vm: Declared, view: GuestView, synced: Collection[str] = ()) -> GuestEdits:
    """The changes that are made once, when a root is made from its base, before `changes`.

    They remove the image's host keys; a declared host key is written later, by `changes`.
    """
    if not vm.guest.identity:
        return GuestEdits()
    return _yielding(identity.fresh_identity(view), _taken(vm, synced))


def _defaults(vm: Declared, view: GuestView, taken: Collection[str]) -> Iterator[GuestEdits]:
    """Yield each default that is switched on, with its warnings."""
    if vm.guest.hostname:
        yield GuestEdits((names.hostname_file(vm.hostname),))
    if vm.guest.hosts:
        yield GuestEdits((names.hosts_file(vm.hostname, _hosts(view)),))
    if vm.guest.resolv_conf and vm.network.dns:
        yield GuestEdits((names.resolv_conf_file(vm.network.dns),))
    if vm.guest.sshd:
        yield sshd.drop_in(view, has_keys=vm.has_keys)
        yield sshd.include_line(view)
    if vm.guest.network:
        yield network.bootstrap(vm.network, view)
        yield _agreement(vm, view, taken)
    if vm.guest.cloud_init == "keep":
        yield cloud_init.kept(view)
    if vm.guest.fstab:
        mounts = fstab.with_tmpfs(vm.mounts)
        yield GuestEdits(tuple(_mount_points(mounts, view)))
        yield _fstab_file(vm, view, mounts)


def _hosts(view: GuestView) -> bytes:
    """The image's hosts; none where a link leads nowhere or in circles, or what is there is no file.

    Such a link is replaced. A file that can't be read is an error: its lines are to stay.
    """
    try:
        return view.read(names.HOSTS) or b""
    except GuestPathError:
        return b""


def _fstab_file(vm: Declared, view: GuestView, mounts: Sequence[Mount]) -> GuestEdits:
    rules = fstab.FstabRules(_devices(vm, view), vm.drop_mounts, vm.keep_mounts)
    outcome = fstab.fstab(view.read(fstab.PATH) or b"", rules, mounts)
    return GuestEdits((GuestFile(fstab.PATH, outcome.content),), outcome.warnings)


def _devices(vm: Declared, view: GuestView) -> Devices:
    labels = frozenset(f"LABEL={label}" for label in vm.disk_labels)
    root = view.root_devices()
    return Devices(root.tags | labels, disks=root.count + len(labels), mounts_root=root.is_mounted)


def _agreement(vm: Declared, view: GuestView, taken: Collection[str]) -> GuestEdits:
    guest = guest_of(
        view, keeps_machine_id=not vm.guest.identity, keeps_cloud_init=vm.guest.cloud_init == "keep"
    )
    written = vm.guest.resolv_conf and bool(vm.network.dns)
    declares_resolv_conf = written or names.RESOLV_CONF in taken
    return network.agreement(vm.network, guest, declares_resolv_conf=declares_resolv_conf)


def _mount_points(mounts: Sequence[Mount], view: GuestView) -> Iterator[GuestDirectory]:
    """Yield the mount points that the image lacks, because not every init makes them.

    A mount point inside of another mount must exist on that filesystem and is omitted here.
    """
    targets = [normal(mount.target) for mount in mounts if mount.target.startswith("/")]
    for target in targets:
        inside = any(target.startswith(f"{other}/") for other in targets if other != "/")
        if not inside and not view.exists(target):
            yield GuestDirectory(target)


def _files(vm: DeclaredFiles, view: GuestView) -> tuple[GuestChange, ...]:
    owners = Owners(view)
    return tuple(
        GuestFile(
            file.guest,
            file.content.encode("utf-8", "surrogateescape"),
            file.mode,
            *owners.ids(file.owner),
            mtime_ns=file.mtime_ns,
            salt=file.salt,
        )
        for file in vm.files
    )


def _unmounted(vm: Declared, taken: Collection[str]) -> Iterator[str]:
    """Yield a warning if another declaration prevents that the declared mounts are written."""
    if vm.mounts and not vm.guest.fstab:
        yield "the declared mounts are not written: guest.fstab is false"
    elif vm.mounts and fstab.PATH in taken:
        yield f"the declared mounts are not written: a declared file stands at '{fstab.PATH}'"


def _waits(vm: Declared, view: GuestView, taken: Collection[str]) -> Iterator[str]:
    """Yield a warning for what else of the image waits for a device, if mounts are looked after here."""
    if vm.guest.fstab:
        yield from device_waits.warnings(view, _devices(vm, view), taken)


def _unheard(vm: Declared, view: GuestView) -> Iterator[str]:
    """Yield a warning for each declared file that tells sshd where to listen, if sshd is not asked."""
    if vm.guest.sshd:
        known = (file for file in vm.files if file.secret is None)
        yield from unheard_ports(view, ((file.guest, file.content.encode()) for file in known))


def _taken(vm: DeclaredFiles, synced: Collection[str]) -> frozenset[str]:
    declared = (*(file.guest for file in vm.files), *(sync.guest for sync in vm.file_syncs))
    return frozenset((*map(normal, declared), *synced))


def _yielding(part: GuestEdits, taken: Collection[str]) -> GuestEdits:
    """Drop the changes that declared files replace, and all warnings if no change remains.

    Directories stay: they set the attributes of a parent, not its content.
    """
    kept = tuple(c for c in part.changes if isinstance(c, GuestDirectory) or c.path not in taken)
    return GuestEdits(kept, part.warnings) if kept else GuestEdits()
