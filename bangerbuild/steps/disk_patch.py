"""The base of all patch steps: writes the declared files, keys and host trees of one disk, all or nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self, cast

from typing_extensions import override

from bangerbuild.disk import ledger_lines
from bangerbuild.disk.libext2fs import GUEST_FULL, INODE_ALLOC_FAIL
from bangerbuild.errors import BangerError, FilesystemError, SourceError, readable_size
from bangerbuild.guest import defaults
from bangerbuild.guest.owners import Owners
from bangerbuild.guest.paths import normal
from bangerbuild.guest.sshd import AUTHORIZED_KEYS
from bangerbuild.model import (
    TO_MAKE,
    FileDiff,
    Preview,
    Reason,
    ReasonCode,
    StepId,
    Verb,
    Verdict,
    would_fail,
)
from bangerbuild.model.recovered import Recovered
from bangerbuild.steps import differences, disks, labels, ledger, patching, views
from bangerbuild.steps.capacity import Room, in_blocks, lacking_bytes
from bangerbuild.steps.obstacles import Without, room, without
from bangerbuild.steps.step_kind import Identified
from bangerbuild.tree import DiskMount, GuestDirectory, GuestEdits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from bangerbuild.declared import FileSync, InlineFile
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.guest.view import GuestView
    from bangerbuild.model import Json, Situation, Source, View, Workspace


@dataclass(frozen=True, kw_only=True)
class DiskPatch(Identified, ABC):
    """A step that changes one disk in place. A subclass says which disk, and what more than files it gets."""

    kind: ClassVar[str]
    format: ClassVar[int] = 2
    exclusive: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = ("libext2fs", "SOURCE_DATE_EPOCH")

    name: str = field(metadata={"recipe": False, "owner": True})
    image: str = field(metadata={"recipe": False})
    place: DiskMount = field(metadata={"recipe": False})
    authorized_keys: tuple[str, ...] = field(default=(), metadata={"key": "ssh_authorized_keys"})
    files: tuple[InlineFile, ...] = field(default=(), metadata={"key": "file"})
    file_syncs: tuple[FileSync, ...] = field(default=(), metadata={"key": "file_sync"})
    mount_points: tuple[str, ...] = ()
    """Directories on this disk that others are mounted on; the root patch makes its own."""
    room: Room | None = field(default=None, metadata={"recipe": False})
    """How large the disk is made; None: that is not known before."""

    def __post_init__(self) -> None:
        disk = StepId.vm(self.name, self.part)
        self._keep(_changes=disk, _id=disk.patch, _inputs=self._inputs_with(disk))

    @property
    @abstractmethod
    def part(self) -> str:
        """The part of the VM that makes the disk."""

    @property
    @override
    def changes(self) -> str:
        """The disk."""
        return self._changes

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return self._inputs

    def _inputs_with(self, disk: str) -> tuple[str, ...]:
        """The image is read for users and groups, only where a file is owned by name."""
        owners = {file.owner for file in self.files} | {sync.owner for sync in self.file_syncs}
        by_name = any(not half.isdigit() and half != "root" for owner in owners for half in owner.split(":"))
        return (disk, self._rootfs) if by_name else (disk,)

    @property
    @override
    def waits_for(self) -> tuple[str, ...]:
        """The image says which labels its policy has for what is written."""
        return (self._rootfs,)

    @property
    def _rootfs(self) -> str:
        return StepId.image(self.image, "rootfs")

    @property
    @override
    def sources(self) -> tuple[Source, ...]:
        secrets = (source for file in self.files for source in patching.secret_source(file))
        return (*map(patching.source, self.file_syncs), *secrets)

    def revealed(self, view: View) -> Self:
        """The same step with the secrets in its files; it is not to be kept, shown or compared."""
        if all(file.secret is None for file in self.files):
            return self
        return replace(self, files=patching.revealed(view, self.files))

    @classmethod
    @override
    def kinds(cls) -> tuple[str, ...]:
        return (cls.kind,)

    @override
    def judge(self, situation: Situation) -> Verdict:
        """A new disk is patched as part of its making; an existing one is updated in place."""
        if situation.disk_verb is Verb.CREATE:
            return TO_MAKE
        disk_changed = Reason(ReasonCode.INPUT_CHANGED, {"id": self.changes})
        others = tuple(reason for reason in situation.changes if reason != disk_changed)
        if situation.disk_verb is Verb.REPLACE:
            return Verdict(Verb.UPDATE, (disk_changed, *others))
        if situation.record is None or situation.disk_verb is Verb.ADOPT:  # what is recorded was another
            return self._judge_unpatched(situation)
        reasons = (*others, *situation.found)
        return Verdict(Verb.UPDATE, reasons) if reasons else Verdict(Verb.KEEP)

    def _judge_unpatched(self, situation: Situation) -> Verdict:
        if situation.disk_verb is Verb.BLOCKED:  # nothing is known of the disk, not even its base
            return Verdict(Verb.BLOCKED, (Reason(ReasonCode.BASE_UNKNOWN),))
        return Verdict(Verb.UPDATE, (Reason(ReasonCode.MISSING),))

    @override
    def inspect(self, view: View) -> tuple[Reason, ...]:
        """The declared files that the guest has changed."""
        confirmed = view.ledger(self.id)
        if not confirmed and not view.intended_ledger(self.id):
            return ()
        place = self.place_then(view.facts(self.id))
        with disks.opened_to_read(view, self.changes, place) as disk:
            lines = self._before(disk, view)
            differing = tuple(ledger_lines.differing(disk, lines))
        interrupted = (Reason(ReasonCode.INTERRUPTED),) if lines != confirmed else ()
        return (*interrupted, *(Reason(ReasonCode.FILE_DIFFERS, {"guest": path}) for path in differing))

    def place_then(self, facts: Mapping[str, Json]) -> DiskMount:
        """Where the disk was mounted when it was patched: the paths of the ledger are those of then."""
        mounted = str(facts.get("mount_point", self.place.mount_point))
        return self.place if mounted == self.place.mount_point else DiskMount(mounted)

    def _before(self, disk: OpenedDisk, view: View) -> dict[str, str]:
        """What was written into the guest, one way or another."""
        return ledger.as_found(disk, view.ledger(self.id), view.intended_ledger(self.id))

    @override
    def foresee(self, view: View) -> None:
        if self.room is not None and (self.files or self.file_syncs):
            hint = f"leave something out, or enlarge the `size` of {self.enlarged}"
            self.room.check(self._least_bytes(view), f"what {self.id} writes", hint)

    def _least_bytes(self, view: View) -> int:
        """What the declared files take at least, worked out once for all disks that get the same."""
        key = ("least bytes", self.files, self.file_syncs)
        return view.shared(key, lambda: nullcontext(self._summed_bytes(view)))

    def _summed_bytes(self, view: View) -> int:
        trees = patching.trees(view, self.file_syncs)
        own = (file for file in self.files if normal(file.guest) not in trees.paths)
        inline = sum(in_blocks(len(file.content.encode())) for file in own if file.secret is None)
        return trees.least_bytes(self.file_syncs) + inline

    @override
    def obstacles(self, view: View, made_from: str) -> tuple[Reason, ...]:
        """What stands in the way in what the disk is made from."""
        try:
            self.foresee(view)
            image = disks.shared_view(
                view, view.artifact(self.inputs[1]) if len(self.inputs) > 1 else made_from
            )
            for owner in {one.owner for one in self.files} | {one.owner for one in self.file_syncs}:
                Owners(image).ids(owner)
            wanted = self.new_places(image, patching.trees(view, self.file_syncs))
            key = ("room", made_from, self.place, frozenset(wanted.items()))
            source = disks.shared_source(view, made_from, self.place)
            found = view.shared(
                key, lambda: nullcontext(room(source, self.place.mount_point, wanted, {}, None))
            )
            return tuple(found.reasons)
        except BangerError as err:
            return (would_fail(err),)

    def new_places(self, image: views.ImageView, trees: patching.Trees) -> dict[str, bool]:  # noqa: ARG002  # a root has more
        """Where something is written on a new disk that may be in the way there already; see `room`."""
        files = (normal(file.guest) for file in self.files)
        keys = (AUTHORIZED_KEYS,) if self.authorized_keys else ()
        return {path: path in trees.directories for path in trees.paths} | dict.fromkeys(
            (*files, *keys), False
        )

    @override
    def preview(self, view: View, *, is_untouched: bool, remakes_disk: bool, in_full: bool = True) -> Preview:
        """What stops the patch of one disk stops it when it is run; other steps have their plan."""
        artifact = self.image_artifact(view)
        has_image = artifact is not None and view.path(artifact).is_file()
        if remakes_disk and artifact and has_image and (found := self.obstacles(view, artifact)):
            return Preview(obstacles=found)
        if remakes_disk and not in_full:
            return Preview()
        try:
            return self._compared(view, is_untouched=is_untouched, remakes_disk=remakes_disk, in_full=in_full)
        except BangerError as err:
            if remakes_disk or (artifact and not has_image):  # the run makes what it needs
                return Preview((FileDiff("/", note=f"can't be compared: {err.brief}"),))
            return Preview(obstacles=(would_fail(err),))

    def _compared(self, view: View, *, is_untouched: bool, remakes_disk: bool, in_full: bool) -> Preview:
        with disks.opened_to_read(view, self.changes, self.place) as disk, ExitStack() as stack:
            if not remakes_disk:
                disk.check_writable()
            artifact = self.image_artifact(view)
            image = stack.enter_context(disks.opened_image(view, artifact)) if artifact else disk
            start = image if remakes_disk else disk  # where the run starts too
            now = self.guest_now(self._image_view(view, disk), start)
            trees = patching.trees(view, self.file_syncs)
            declared = self.revealed(view) if in_full else self
            wanted = declared.wanted(now, trees.paths)
            lines = self._before(disk, view)
            base = image if "base" in view.facts(self.changes) else None
            unchanged = () if remakes_disk else self._unchanged(view, now, trees)
            spared = patching.spared(self.file_syncs, unchanged)
            found = room(disk, self.place.mount_point, _places(wanted, trees, spared), lines, base)
            if not remakes_disk and not found.reasons:
                places = {*trees.paths, *(normal(file.guest) for file in self.files), *lines}
                found.reasons += self._lacking_room(disk, view, places)
            if not remakes_disk and (found.reasons or not in_full):
                return Preview(obstacles=tuple(found.reasons))
            entries = patching.synced(self, now, trees, _ignore, view.epoch, unchanged)
            gone = {*found.removed, *(str(one.facts.get("guest")) for one in found.reasons)}
            shown = cast("OpenedDisk", Without(disk, gone)) if gone else disk
            lines = without(lines, gone)
            changed = differences.differences(
                shown, wanted.changes, entries, lines, is_untouched=is_untouched
            )
            diffs = tuple(changed)
            left = self._preview_undeclared(shown, base, lines, wanted, trees.paths)
            return Preview(diffs + left.diffs, left.reasons)

    def _lacking_room(self, disk: OpenedDisk, view: View, places: Iterable[str]) -> list[Reason]:
        """What a disk lacks once it has its declared size, and what was written before is given up."""
        lacking = lacking_bytes(
            disk, self._least_bytes(view), places, self.room.size_bytes if self.room else 0
        )
        if not lacking:
            return []
        hint = f"make room in the guest, or enlarge the `size` of {self.enlarged}"
        brief = f"what {self.id} writes needs {readable_size(lacking)} more than its disk has free"
        return [would_fail(SourceError(brief, hint=hint))]

    def _preview_undeclared(
        self,
        disk: OpenedDisk,
        base: OpenedDisk | None,
        lines: Mapping[str, str],
        wanted: GuestEdits,
        synced: Collection[str],
    ) -> Preview:
        diffs: list[FileDiff] = []
        reasons: list[Reason] = []
        for path in ledger.undeclared(disk, lines, _paths(wanted, synced)):
            kept = not ledger_lines.is_there(disk, path, lines[path])
            facts: dict[str, Json] = {"guest": path, "kept": True} if kept else {"guest": path}
            reasons.append(Reason(ReasonCode.FILE_UNDECLARED, facts))
            diffs += () if kept else differences.withdrawn(disk, base, path, lines[path])
        return Preview(tuple(diffs), tuple(reasons))

    @override
    def recover(self, view: View, artifacts: tuple[str, ...]) -> Recovered | None:
        """What is declared today counts as written if any of it is there; then the plan names what differs.

        A directory counts as the guest's own, so that none is removed that was not made here.
        """
        with disks.opened_to_read(view, self.changes, self.place) as disk:
            now = self.guest_now(self._image_view(view, disk), disk)
            trees = patching.trees(view, self.file_syncs)
            wanted = self.revealed(view).wanted(now, trees.paths)
            synced = patching.lines_of(patching.synced(self, now, trees, _ignore, view.epoch))
            lines = {**synced, **ledger.of_changes(wanted.changes)}
            files = [path for path, line in lines.items() if not ledger_lines.is_directory(line)]
            if files and not any(ledger_lines.is_there(disk, path, lines[path]) for path in files):
                return None
        return Recovered(artifacts, {"mount_point": self.place.mount_point}, written=lines)

    @override
    def warnings(self, view: View, *, is_new: bool) -> tuple[str, ...]:
        trees = patching.trees(view, self.file_syncs)
        left_out = patching.left_out(self.file_syncs, trees)
        return (*self._guest_warnings(view, trees.paths, is_new=is_new), *left_out)

    def _guest_warnings(self, view: View, synced: Collection[str], *, is_new: bool) -> tuple[str, ...]:  # noqa: ARG002
        """Those of `wanted`, and of what is done once, as far as they are known before."""
        return defaults.own_warnings(self, synced)

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """What this job has staged is written as it is, what a guest has in one transaction."""
        with self.telling_what_to_enlarge():
            if workspace.is_staged(workspace.artifact(self.changes)):
                self._write_staged(workspace)
            else:
                self._update_in_place(workspace)
        return self._remembered(workspace)

    @property
    def enlarged(self) -> str:
        """Whose `size` is the filesystem's."""
        return self.changes

    @contextmanager
    def telling_what_to_enlarge(self) -> Iterator[None]:
        """Hint at that where the guest's filesystem is full."""
        try:
            yield
        except FilesystemError as err:
            if err.code not in GUEST_FULL:
                raise
            what = "remove files" if err.code == INODE_ALLOC_FAIL else "make room"
            grows = ": inodes grow with it" if err.code == INODE_ALLOC_FAIL else ""
            hint = f"{what} in the guest, or enlarge the `size` of {self.enlarged}{grows}"
            raise FilesystemError(err.brief, details=err.details, hint=hint, code=err.code) from err

    def _write_staged(self, workspace: Workspace) -> None:
        with disks.opened_to_write(workspace, self.changes, self.place) as disk:
            workspace.wrote(self._patch(disk, workspace)[0])

    def _update_in_place(self, workspace: Workspace) -> None:
        with workspace.in_place(workspace.artifact(self.changes)):
            disk_format, stored = disks.stored(workspace, self.changes)
            disk_format.replay(stored, workspace)
            known = workspace.ledger(self.id)
            with disk_format.transaction(stored, self.place, workspace.epoch) as disk:
                lines, spared = self._patch(disk, workspace)
                workspace.intend(dict(lines.items() - known.items()))
            with disks.opened_to_read(workspace, self.changes, self.place) as disk:
                ledger.check(disk, {path: line for path, line in lines.items() if path not in spared})
        workspace.wrote(lines)

    def _remembered(self, view: View) -> dict[str, Json]:
        """Where the guest sees what was written, which tells of each path where on the disk it lies.

        And whose times the files of file_syncs have.
        """
        surveys = [view.survey(patching.source(sync)) for sync in self.file_syncs]
        return {
            "mount_point": self.place.mount_point,
            "times": patching.times_of(self, surveys, view.epoch),
        }

    def _unchanged(self, view: View, now: GuestView, trees: patching.Trees) -> tuple[dict[str, str], ...]:
        """Of each file_sync what is on the disk as it shall be, told by the ledger alone; empty: it can't be.

        A disk that nobody has touched since the last run has what that wrote. Files of several names are
        looked at, as the ledger does not know which of them are one.
        """
        lines = view.ledger(self.id)
        if not lines or not view.is_as_left(view.artifact(self.changes)) or view.intended_ledger(self.id):
            return ()
        times = patching.times_of(self, trees.surveys, view.epoch)
        if times is None or times != view.facts(self.id).get("times"):
            return ()
        return patching.unchanged(self, now, trees, lines)

    def _patch(self, disk: OpenedDisk, workspace: Workspace) -> tuple[dict[str, str], Collection[str]]:
        """Make a disk hold what is declared, and no longer what is not.

        Returns:
            The lines of what is declared now, and which paths of them nobody had to look at.
        """
        now = self.guest_now(self._image_view(workspace, disk), disk)
        image = self.image_artifact(workspace)
        disk.label_with(labels.of_image(workspace, image or workspace.artifact(self._rootfs)))
        trees = patching.trees(workspace, self.file_syncs)
        wanted = self.revealed(workspace).wanted(now, trees.paths)
        is_new = workspace.is_new(workspace.artifact(self.changes))
        unchanged = () if is_new else self._unchanged(workspace, now, trees)
        entries = patching.synced(self, now, trees, workspace.warn, workspace.epoch, unchanged)
        spared = patching.spared(self.file_syncs, unchanged)
        before = {} if is_new else self._before(disk, workspace)
        if not is_new:
            before = self._make_room(disk, _places(wanted, trees, spared), before, workspace)
        if is_new:
            lines = self._write(disk, entries, wanted, workspace)
        else:
            changes = tuple(ledger.still_needed(disk, wanted.changes))
            needed = GuestEdits(changes, wanted.warnings)
            synced = self._write(disk, entries, needed, workspace, before)
            patching.set_times(disk, set(wanted.changes) - set(changes), workspace.epoch)
            lines = {**spared, **synced, **ledger.of_changes(wanted.changes)}
        if not spared or lines.keys() != before.keys():
            ledger.refuse_two_of_one(disk, lines)
        self._withdraw(disk, before, lines, workspace)
        return lines, spared.keys() - ledger.of_changes(wanted.changes).keys()

    def _make_room(
        self, disk: OpenedDisk, wanted: Mapping[str, bool], before: Mapping[str, str], workspace: Workspace
    ) -> dict[str, str]:
        """Remove what we put where something of another kind comes; what is left of what was written."""
        with ExitStack() as stack:
            image = workspace.facts(self.changes).get("base")
            base = stack.enter_context(disks.opened_image(workspace, str(image))) if image else None
            found = room(disk, self.place.mount_point, wanted, before, base)
        found.check()
        for path in found.removed:
            disk.remove(path, recursive=True)
        return without(before, found.removed)

    def _withdraw(
        self, disk: OpenedDisk, before: Mapping[str, str], lines: Mapping[str, str], workspace: Workspace
    ) -> None:
        gone = ledger.undeclared(disk, before, lines)
        if not gone:
            return
        with ExitStack() as stack:
            image = workspace.facts(self.changes).get("base")
            base = stack.enter_context(disks.opened_image(workspace, str(image))) if image else None
            for path in gone:
                if not ledger.withdraw(disk, base, path, before[path]):
                    workspace.warn(f"'{path}' left the manifest, but was changed in the guest: it stays")

    def _write(
        self,
        disk: OpenedDisk,
        entries: Iterable[patching.PlacedEntry],
        wanted: GuestEdits,
        workspace: Workspace,
        before: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Copy what the file_syncs bring, then make the changes; what was written.

        `before` is what the last run wrote on this disk; None: nothing has been written on it yet.
        """
        synced = patching.sync(disk, entries, before or {}, spare_same=before is not None)
        patching.make(disk, wanted.changes, workspace.epoch)
        for warning in wanted.warnings:
            workspace.warn(warning)
        return {**synced, **ledger.of_changes(wanted.changes)}

    def wanted(self, now: GuestView, synced: Collection[str]) -> GuestEdits:
        """What the disk shall get, but for the content of file_syncs."""
        points = tuple(GuestDirectory(point) for point in self.mount_points if not now.exists(point))
        return GuestEdits.joined((GuestEdits(points), defaults.own_changes(self, now, synced)))

    def guest_now(self, image: GuestView, disk: OpenedDisk) -> GuestView:
        """The guest as this disk's patch may read it, before it writes."""
        return _DiskView(image, disk)

    def _image_view(self, view: View, disk: OpenedDisk) -> GuestView:
        """The image that the guest stands on; the disk itself where none has to be read."""
        artifact = self.image_artifact(view)
        return disks.shared_view(view, artifact) if artifact else views.ImageView(disk)

    def image_artifact(self, view: View) -> str | None:
        """The image that the guest stands on, where it has to be read."""
        base = view.facts(self.changes).get("base")
        if base is not None:
            return str(base)
        return view.artifact(self.inputs[1]) if len(self.inputs) > 1 else None


class _DiskView:
    """A disk as it is now; what is read, the users and groups, is its guest's image's."""

    def __init__(self, image: GuestView, disk: OpenedDisk) -> None:
        self.read = image.read
        self.exists = disk.exists
        self.mode = image.mode
        self.names = image.names
        self.link = image.link
        self.once = image.once
        self.root_devices = image.root_devices


def _places(wanted: GuestEdits, trees: patching.Trees, spared: Collection[str] = ()) -> dict[str, bool]:
    """Where something is written, and whether it is a directory; a declared file wins over a synced one.

    `spared` are paths that are there as they shall be.
    """
    lines = ledger.of_changes(wanted.changes)
    synced = {path: path in trees.directories for path in trees.paths if path not in spared}
    return synced | {path: ledger_lines.is_directory(line) for path, line in lines.items()}


def _paths(wanted: GuestEdits, synced: Collection[str]) -> frozenset[str]:
    """Every guest path that is asked for, removals apart."""
    return frozenset((*ledger.of_changes(wanted.changes), *synced))


def _ignore(_message: str) -> None:
    pass
