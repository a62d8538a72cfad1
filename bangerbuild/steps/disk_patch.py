"""What every patch of a disk is: declared files, keys and host trees, written all together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from bangerbuild.errors import BangerError
from bangerbuild.guest import defaults
from bangerbuild.guest.files import GuestDirectory, Outcome
from bangerbuild.guest.owners import Owners
from bangerbuild.guest.paths import normal
from bangerbuild.model import FileDiff, Reason, ReasonCode, Source, Verb, Verdict
from bangerbuild.steps import disks, patching

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.guest.files import GuestView
    from bangerbuild.model import Json, Situation, View, Workspace
    from bangerbuild.spec import FileSync, InlineFile
    from bangerbuild.tree import Place


@dataclass(frozen=True, kw_only=True)
class DiskPatch(ABC):
    """A step that changes one disk in place. A subclass says which disk, and what more than files it gets."""

    kind: ClassVar[str]
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = ("libext2fs", "SOURCE_DATE_EPOCH")

    name: str = field(metadata={"recipe": False})
    image: str = field(metadata={"recipe": False})
    place: Place = field(metadata={"recipe": False})
    authorized_keys: tuple[str, ...] = field(default=(), metadata={"key": "ssh_authorized_keys"})
    files: tuple[InlineFile, ...] = field(default=(), metadata={"key": "file"})
    file_syncs: tuple[FileSync, ...] = field(default=(), metadata={"key": "file_sync"})
    mount_points: tuple[str, ...] = ()
    """Directories on this disk that others are mounted on; the root patch makes its own."""

    @property
    @abstractmethod
    def changes(self) -> str:
        """See Step: the disk."""

    @property
    def id(self) -> str:
        """See Step."""
        return f"{self.changes}.patch"

    @property
    def inputs(self) -> tuple[str, ...]:
        """See Step. The image is read for users and groups, only where a file is owned by name."""
        owners = {file.owner for file in self.files} | {sync.owner for sync in self.file_syncs}
        by_name = any(not half.isdigit() and half != "root" for owner in owners for half in owner.split(":"))
        return (self.changes, f"image.{self.image}.rootfs") if by_name else (self.changes,)

    @property
    def sources(self) -> tuple[Source, ...]:
        """See Step."""
        return tuple(
            Source(f"file_sync[{sync.guest}]", sync.host.path, sync.host.written, patching.rules(sync))
            for sync in self.file_syncs
        )

    def judge(self, situation: Situation) -> Verdict:
        """A new disk is patched as part of its making; an existing one is updated in place."""
        disk_changed = Reason(ReasonCode.INPUT_CHANGED, {"id": self.changes})
        others = tuple(reason for reason in situation.changes if reason != disk_changed)
        if situation.disk_verb is Verb.CREATE:
            return Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING),))
        if situation.disk_verb is Verb.REPLACE:
            return Verdict(Verb.UPDATE, (disk_changed, *others))
        if situation.record is None or situation.disk_verb is Verb.ADOPT:  # what is recorded was another
            return self._judge_unpatched(situation)
        return Verdict(Verb.UPDATE, others) if others else Verdict(Verb.KEEP)

    def _judge_unpatched(self, situation: Situation) -> Verdict:
        if situation.disk_verb is Verb.BLOCKED:  # nothing is known of the disk, not even its base
            return Verdict(Verb.BLOCKED, (Reason(ReasonCode.BASE_UNKNOWN),))
        return Verdict(Verb.UPDATE, (Reason(ReasonCode.MISSING),))

    def preview(self, view: View) -> tuple[FileDiff, ...]:
        """See Step. What stops the patch of one disk stops it when it is run; other steps have their plan."""
        try:
            with disks.opened(view, self.changes, self.place) as disk, ExitStack() as stack:
                image = self.image_artifact(view)
                known = stack.enter_context(disks.opened_image(view, image)) if image else disk
                now = self.guest_now(patching.ImageView(known), disk)
                wanted = self.wanted(now, tuple(self.synced_paths()))
                return tuple(patching.differences(disk, wanted.changes, self._synced(now, _ignore)))
        except BangerError as err:
            return (FileDiff("/", note=f"can't be compared: {err.brief}"),)

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step. What is changed is in staging: a copy of the disk, or one that this job has made."""
        if not workspace.is_new(workspace.artifact(self.changes)):
            workspace.edit(workspace.artifact(self.changes))
        image = self.image_artifact(workspace)
        with disks.opened_to_write(workspace, self.changes, self.place) as disk:
            known = disks.shared_view(workspace, image) if image else patching.ImageView(disk)
            now = self.guest_now(known, disk)
            self.write(disk, now, self.wanted(now, tuple(self.synced_paths())), workspace)
        return {}

    def write(self, disk: Filesystem, now: GuestView, wanted: Outcome, workspace: Workspace) -> None:
        """Make the changes, then copy what the file_syncs bring."""
        patching.make(disk, wanted.changes)
        patching.sync(disk, self._synced(now, workspace.warn))
        for warning in wanted.warnings:
            workspace.warn(warning)

    def wanted(self, now: GuestView, synced: Collection[str]) -> Outcome:
        """What the disk shall get, but for the content of file_syncs."""
        points = tuple(GuestDirectory(point) for point in self.mount_points if not now.exists(point))
        return Outcome.joined((Outcome(points), defaults.own_changes(self, now, synced)))

    def guest_now(self, image: patching.ImageView, disk: Filesystem) -> GuestView:
        """The guest as this disk's patch may read it."""
        return _DiskView(image, disk)

    def image_artifact(self, view: View) -> str | None:
        """The image that the guest stands on, where it has to be read."""
        base = view.facts(self.changes).get("base")
        if base is not None:
            return str(base)
        return view.artifact(self.inputs[1]) if len(self.inputs) > 1 else None

    def synced_paths(self) -> Iterator[str]:
        """Every guest path that a file_sync writes; the trees are walked, no content is read."""
        for sync in self.file_syncs:
            for entry in patching.host_tree(sync, _ignore):
                yield patching.guest_path(sync, entry.path)

    def _synced(self, now: GuestView, warn: Callable[[str], None]) -> Iterator[patching.Synced]:
        owners, declared = Owners(now), {normal(file.guest) for file in self.files}
        for sync in self.file_syncs:
            uid, gid = owners.ids(sync.owner)
            for entry in patching.host_tree(sync, warn):
                item = patching.placed(sync, replace(entry, uid=uid, gid=gid))
                if normal(item.guest) not in declared:
                    yield item


class _DiskView:
    """A disk as it is now; what is read, the users and groups, is its guest's image's."""

    def __init__(self, image: patching.ImageView, disk: Filesystem) -> None:
        self.read = image.read
        self.exists = disk.exists
        self.mode = image.mode


def _ignore(_message: str) -> None:
    pass
