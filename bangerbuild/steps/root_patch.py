"""`vm.X.root.patch`: everything that makes a shared image this VM's own, written into its root overlay."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self, cast

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.errors import BangerError
from bangerbuild.guest import defaults
from bangerbuild.guest.files import Outcome
from bangerbuild.guest.owners import Owners
from bangerbuild.model import FileDiff, Reason, ReasonCode, Source, Verb, Verdict
from bangerbuild.steps import patching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.guest.files import GuestView
    from bangerbuild.model import Json, Situation, View, Workspace
    from bangerbuild.spec import FileSync, GuestDefaults, InlineFile, Manifest, Mount, Network


@dataclass(frozen=True)
class RootPatch:
    """One VM's patch: the guest defaults, its declared files, its keys and its file_syncs."""

    kind: ClassVar[str] = "root-patch"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = ("libext2fs", "SOURCE_DATE_EPOCH")

    name: str = field(metadata={"recipe": False})
    hostname: str
    guest: GuestDefaults
    network: Network
    drop_mounts: tuple[str, ...]
    authorized_keys: tuple[str, ...] = field(metadata={"key": "ssh_authorized_keys"})
    files: tuple[InlineFile, ...] = field(metadata={"key": "file"})
    file_syncs: tuple[FileSync, ...] = field(metadata={"key": "file_sync"})
    mounts: tuple[Mount, ...] = field(metadata={"key": "mount"})

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM."""
        for vm in manifest.vms.values():
            yield cls(
                name=vm.name,
                hostname=vm.hostname,
                guest=vm.guest,
                network=replace(vm.network, tap=None),  # a device of the host; the guest never sees it
                drop_mounts=vm.drop_mounts,
                authorized_keys=vm.authorized_keys,
                files=vm.files,
                file_syncs=vm.file_syncs,
                mounts=vm.mounts,
            )

    @property
    def id(self) -> str:
        """See Step."""
        return f"{self.changes}.patch"

    @property
    def changes(self) -> str:
        """See Step."""
        return f"vm.{self.name}.root"

    @property
    def inputs(self) -> tuple[str, ...]:
        """See Step."""
        return (self.changes,)

    @property
    def sources(self) -> tuple[Source, ...]:
        """See Step."""
        return tuple(
            Source(f"file_sync[{sync.guest}]", sync.host.path, sync.host.written, patching.rules(sync))
            for sync in self.file_syncs
        )

    def judge(self, situation: Situation) -> Verdict:
        """A new disk is patched as part of its making; an existing one is updated in place."""
        if situation.disk_verb is Verb.CREATE:
            return Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING),))
        if situation.disk_verb is Verb.REPLACE:
            input_changed = Reason(ReasonCode.INPUT_CHANGED, {"id": self.changes})
            others = tuple(reason for reason in situation.changes if reason != input_changed)
            return Verdict(Verb.UPDATE, (input_changed, *others))
        if situation.record is None:
            unknown = situation.disk_verb is Verb.BLOCKED
            verb, code = (
                (Verb.BLOCKED, ReasonCode.BASE_UNKNOWN) if unknown else (Verb.UPDATE, ReasonCode.MISSING)
            )
            return Verdict(verb, (Reason(code),))
        return Verdict(Verb.UPDATE, situation.changes) if situation.changes else Verdict(Verb.KEEP)

    def preview(self, view: View) -> tuple[FileDiff, ...]:
        """See Step. What stops the patch of one disk stops it when it is run; other steps have their plan."""
        try:
            with self._opened(view, writable=False) as disk, self._image(view) as image:
                now = patching.GuestNow(image, disk)
                wanted = defaults.changes(self, now, tuple(self._synced_paths()))
                return tuple(patching.differences(disk, wanted.changes, self._synced(now, _ignore)))
        except BangerError as err:
            return (FileDiff("/", note=f"can't be compared: {err.brief}"),)

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step."""
        fresh = self._stage(workspace)
        with self._opened(workspace, writable=True) as disk, ExitStack() as stack:
            image = disk if fresh else stack.enter_context(self._image(workspace))
            now = patching.GuestNow(image, disk)
            synced = tuple(self._synced_paths())
            identity = defaults.identity_changes(self, now, synced) if fresh else Outcome()
            wanted = Outcome.joined((identity, defaults.changes(self, now, synced)))
            entries = self._synced(now, workspace.warn)
            patching.make(disk, wanted.changes)
            patching.sync(disk, entries)
        for warning in wanted.warnings:
            workspace.warn(warning)
        return {}

    def _stage(self, workspace: Workspace) -> bool:
        """Put the overlay to be patched into staging; whether it is an empty one.

        What no guest has written to is made anew: the same bytes then, whatever was declared before.
        """
        artifact, facts = workspace.artifact(self.changes), workspace.facts(self.changes)
        if not workspace.pristine:
            workspace.edit(artifact)
            return False
        if not workspace.is_staged(artifact):
            capacity = cast("int | None", facts["capacity_bytes"])
            base = workspace.path(cast("str", facts["base"]))
            with RawFile(base) as blocks:
                SnapshotStore.create(blocks, workspace.create(artifact), capacity_bytes=capacity).close()
        return True

    @contextmanager
    def _opened(self, view: View, *, writable: bool) -> Iterator[Filesystem]:
        artifact = view.artifact(self.changes)
        with (
            RawFile(self._base(view)) as base,
            SnapshotStore(base, view.path(artifact), writable=writable, durable=False) as blocks,
        ):
            blocks.name = artifact  # what a user knows it by, not its place in staging
            with Filesystem(blocks, writable=writable, now=view.epoch, allow_unclean=not writable) as disk:
                yield disk

    @contextmanager
    def _image(self, view: View) -> Iterator[Filesystem]:
        with RawFile(self._base(view)) as base, Filesystem(base, now=view.epoch) as image:
            yield image

    def _base(self, view: View) -> Path:
        return view.path(cast("str", view.facts(self.changes)["base"]))

    def _synced_paths(self) -> Iterator[str]:
        """Every guest path that a file_sync writes; the trees are walked, no content is read."""
        for sync in self.file_syncs:
            for entry in patching.host_tree(sync, _ignore):
                yield patching.guest_path(sync, entry.path)

    def _synced(self, now: GuestView, warn: Callable[[str], None]) -> Iterator[patching.Synced]:
        owners = Owners(now)
        for sync in self.file_syncs:
            uid, gid = owners.ids(sync.owner)
            for entry in patching.host_tree(sync, warn):
                yield patching.placed(sync, replace(entry, uid=uid, gid=gid))


def _ignore(_message: str) -> None:
    pass
