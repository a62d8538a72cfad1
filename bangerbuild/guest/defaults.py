"""All that a VM's root gets: its default patches, its declared files and its keys, in one stable order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bangerbuild.guest import fstab, identity, names, network, network_scripts, sshd
from bangerbuild.guest.owners import Owners
from bangerbuild.guest.paths import normal
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
    }
)
"""Where the defaults write what differs from VM to VM."""


class DeclaredFiles(Protocol):
    """What a manifest puts on one disk of a guest."""

    @property
    def authorized_keys(self) -> tuple[str, ...]: ...
    @property
    def files(self) -> tuple[InlineFile, ...]: ...
    @property
    def file_syncs(self) -> tuple[FileSync, ...]: ...


class Declared(DeclaredFiles, Protocol):
    """What a manifest says of the inside of one guest; a `spec.VM` does."""

    @property
    def hostname(self) -> str: ...
    @property
    def guest(self) -> GuestDefaults: ...
    @property
    def network(self) -> Network: ...
    @property
    def drop_mounts(self) -> tuple[str, ...]: ...
    @property
    def mounts(self) -> tuple[Mount, ...]: ...


def changes(vm: Declared, view: GuestView, synced: Collection[str] = ()) -> GuestEdits:
    """What every patch of a VM's root makes so, but for the content of file_syncs.

    A file or file_sync at the guest path of a default replaces it.

    Args:
        vm: the VM as declared.
        view: its base image, not the root as the guest left it: the image's own fstab lines, sshd_config
            and passwd are taken from there, so that a second patch asks for the same as the first.
        synced: the guest paths of all that the file_syncs bring, where a directory was expanded.

    Raises:
        SourceError: an owner that the guest does not know.
        FilesystemError: a file of the guest that is there and can't be read.
    """
    taken = _taken(vm, synced)
    defaults = (_yielding(part, taken) for part in _defaults(vm, view))
    unmounted = GuestEdits(warnings=tuple(_unmounted(vm, taken)))
    return GuestEdits.joined((*defaults, unmounted, own_changes(vm, view, synced)))


def split(
    vm: Declared, wanted: GuestEdits, synced: Collection[str] = ()
) -> tuple[tuple[GuestChange, ...], GuestEdits]:
    """What VMs with one image and the same switches get alike; and the rest, to be made after it."""
    own = _taken(vm, synced) | OWN_PATHS
    alike = tuple(c for c in wanted.changes if not isinstance(c, GuestDirectory) and c.path not in own)
    rest = tuple(c for c in wanted.changes if isinstance(c, GuestDirectory) or c.path in own)
    return alike, GuestEdits(rest, wanted.warnings)


def own_changes(declared: DeclaredFiles, view: GuestView, synced: Collection[str] = ()) -> GuestEdits:
    """The keys and files that are declared for one disk, but for the content of file_syncs.

    Raises:
        SourceError: an owner that the guest does not know.
    """
    taken = _taken(declared, synced)
    keys = sshd.authorized_keys(declared.authorized_keys) if declared.authorized_keys else GuestEdits()
    unused: tuple[str, ...] = ()
    if declared.authorized_keys and sshd.AUTHORIZED_KEYS in taken:
        unused = (f"ssh_authorized_keys is not used: a declared file stands at '{sshd.AUTHORIZED_KEYS}'",)
    return GuestEdits.joined((_yielding(keys, taken), GuestEdits(_files(declared, view), unused)))


def identity_changes(vm: Declared, view: GuestView, synced: Collection[str] = ()) -> GuestEdits:
    """What is done once, when a root is made from its base, and before `changes`.

    A declared host key is written by `changes` after the image's have been removed here.
    """
    if not vm.guest.identity:
        return GuestEdits()
    return _yielding(identity.fresh_identity(view), _taken(vm, synced))


def _defaults(vm: Declared, view: GuestView) -> Iterator[GuestEdits]:
    """Yield each default that is switched on, with the warnings that belong to it."""
    if vm.guest.hostname:
        yield GuestEdits((names.hostname_file(vm.hostname),))
    if vm.guest.hosts:
        yield GuestEdits((names.hosts_file(vm.hostname),))
    if vm.guest.resolv_conf and vm.network.dns:
        yield GuestEdits((names.resolv_conf_file(vm.network.dns),))
    if vm.guest.sshd:
        yield sshd.drop_in()
        yield sshd.include_line(view)
    if vm.guest.network:
        yield network.bootstrap(vm.network, view)
    if vm.guest.fstab:
        mounts = fstab.with_tmpfs(vm.mounts)
        yield GuestEdits(tuple(_mount_points(mounts, view)))
        yield GuestEdits(
            (GuestFile(fstab.PATH, fstab.fstab(view.read(fstab.PATH) or b"", vm.drop_mounts, mounts)),)
        )


def _mount_points(mounts: Sequence[Mount], view: GuestView) -> Iterator[GuestDirectory]:
    """Yield the directories to mount on that the image lacks; not every init makes them.

    One that lies in another mount is that filesystem's affair.
    """
    targets = [normal(mount.target) for mount in mounts if mount.target.startswith("/")]
    for target in targets:
        inside = any(target.startswith(f"{other}/") for other in targets if other != "/")
        if not inside and not view.exists(target):
            yield GuestDirectory(target)


def _files(vm: DeclaredFiles, view: GuestView) -> tuple[GuestChange, ...]:
    owners = Owners(view)
    return tuple(
        GuestFile(file.guest, file.content.encode(), file.mode, *owners.ids(file.owner)) for file in vm.files
    )


def _unmounted(vm: Declared, taken: Collection[str]) -> Iterator[str]:
    """Yield a warning where another declaration keeps the declared mounts from being written."""
    if vm.mounts and not vm.guest.fstab:
        yield "the declared mounts are not written: guest.fstab is false"
    elif vm.mounts and fstab.PATH in taken:
        yield f"the declared mounts are not written: a declared file stands at '{fstab.PATH}'"


def _taken(vm: DeclaredFiles, synced: Collection[str]) -> frozenset[str]:
    declared = (*(file.guest for file in vm.files), *(sync.guest for sync in vm.file_syncs), *synced)
    return frozenset(map(normal, declared))


def _yielding(part: GuestEdits, taken: Collection[str]) -> GuestEdits:
    """Drop what declared files replace; warnings of a part that is gone altogether go with it.

    Directories stay: they say what a parent must be like, not what is in it.
    """
    kept = tuple(c for c in part.changes if isinstance(c, GuestDirectory) or c.path not in taken)
    return GuestEdits(kept, part.warnings) if kept else GuestEdits()
