"""Removing what belongs to a VM, or an image that nothing stands on; for `destroy`.

What goes is named first, with its size, and somebody agrees. A disk in use keeps everything where it is. The
files go before the records: whatever is left after a kill is still known, and the next call removes it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild import graph, pipeline, report, shares, store
from bangerbuild.commands import dependents
from bangerbuild.disk import formats, in_use, interrupted
from bangerbuild.disk.attachment import ATTACHED_ROOT
from bangerbuild.errors import BusyError, StoreError, UsageError, few, readable_size
from bangerbuild.leases import FILE_NAME
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.model.artifacts import PLAIN_TABLES, directory_of
from bangerbuild.pipeline import load_to_read
from bangerbuild.resolving import lockfile
from bangerbuild.running import run_directory
from bangerbuild.steps import is_patch
from bangerbuild.store import directories
from bangerbuild.store.faults import OWNER_HINT, nothing_new, store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.graph import Graph
    from bangerbuild.model.request import Request
    from bangerbuild.pipeline import Loaded
    from bangerbuild.store import Store


@dataclass(frozen=True)
class Item:
    """One artifact that goes."""

    artifact: str
    size_bytes: int
    """What it takes up on the disk."""
    guests: bool = False
    """Whether it is a disk that belongs to a guest: one that was made for it to fill, or that it wrote to."""

    @property
    def is_disk(self) -> bool:
        """Whether a VM may have it open."""
        return ArtifactPath(self.artifact).table == "vm" and formats.is_disk(self.artifact)


@dataclass(frozen=True)
class Loss:
    """What goes: the files, and what is remembered."""

    targets: tuple[str, ...]
    items: tuple[Item, ...] = ()
    """The artifacts that are there."""
    artifacts: tuple[str, ...] = ()
    """All that there may be, of which a call before may have removed some."""
    records: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(item.size_bytes for item in self.items)


@nothing_new()
def destroy(
    request: Request,
    agree: Callable[[Loss], bool],
    warn: Callable[[str], None],
    *,
    lock_seconds: float,
    undeclared: bool = False,
) -> Loss | None:
    """Remove what the targets name, declared or only recorded; what was removed, or None.

    Args:
        request: the targets, and where they are.
        agree: is told what goes, and says whether it may.
        warn: is told what stays beside it.
        lock_seconds: how long to wait for one who works on the same VMs.
        undeclared: whether what left the manifests goes too.

    Raises:
        UsageError: a target names nothing, or nothing that could be removed by itself.
        BusyError: somebody has a disk open, or a lock; nothing was removed.
        StoreError: something stands on it, or it can't be removed; or records are lost.
    """
    whole = load_to_read(replace(request, targets=()), warn)
    loaded, wanted = whole.manifest, whole.wanted
    store.read(loaded.store).check_records()
    asked, apart = pipeline.expanded(loaded, request.targets), shares.elsewhere(loaded)
    if undeclared:
        _tell_of_orphans(whole, warn)
    request = replace(request, targets=_named(whole, asked, undeclared=undeclared))
    if not request.targets:
        return Loss(())
    _matched(_kinds(wanted, store.read(loaded.store)), request.targets)  # wrong ones are told before all else
    if not loaded.store.exists():
        _release(request, apart)
        return Loss(request.targets)
    alone = any(StepId(target).table == "image" for target in request.targets)  # whom VMs may be made on
    with store.writing(loaded.store, timeout_seconds=lock_seconds, exclusive=alone) as opened:
        opened.lock({StepId(target).owner for target in request.targets})
        ids = _matched(_kinds(wanted, opened), request.targets)
        loss = _loss(opened, wanted, ids, request.targets)
        _refuse_bases(opened, loss)
        _refuse_used(opened, loss)
        if (loss.items or loss.records) and not agree(loss):
            return None
        _release(request, apart, is_trial=True)
        _remove(opened, loss, warn)
        _release(request, apart)
        return loss


def _release(request: Request, apart: Collection[str], *, is_trial: bool = False) -> None:
    """Free what the VMs were leased that go as a whole; a trial sees that it can be done.

    Those apart are on another node, and keep it: only what they left here goes.
    """
    asked = [StepId(target) for target in request.targets]
    names = {target.name for target in asked if target.table == "vm" and not target.part} - {*apart}
    if names and request.manifests:
        lockfile.release(request.manifests[0].parent / FILE_NAME, names, is_trial=is_trial)


def _named(whole: Loaded, targets: Sequence[str], *, undeclared: bool) -> tuple[str, ...]:
    """What goes, by name: what is meant by patterns, and what left the manifests."""
    opened = store.read(whole.store)
    kinds = _kinds(whole.wanted, opened)
    if undeclared and not whole.is_read:
        raise UsageError(
            "it can't be told what is undeclared: the manifest can't be read", hint="--target ID"
        )
    gone = pipeline.undeclared(whole, opened) if undeclared else ()
    named = (name for target in targets for name in graph.expanded(kinds, target))
    return tuple(dict.fromkeys((*named, *gone)))


def _tell_of_orphans(whole: Loaded, warn: Callable[[str], None]) -> None:
    """Name what a manifest declared that is gone. It was none of these, so what it declared stays."""
    found = pipeline.orphans(whole, store.read(whole.store))
    for line in report.orphan_lines(found):
        warn(f"{line}; --undeclared leaves it alone")


def _kinds(wanted: Graph, opened: Store) -> dict[str, str]:
    """The kind of each step, declared or recorded."""
    recorded = {record.step_id: record.recipe.kind for record in opened.records.values()}
    return recorded | {step.id: step.kind for step in graph.all_steps(wanted)}


def _matched(kinds: Mapping[str, str], targets: Sequence[str]) -> frozenset[str]:
    """The ids of the steps that the targets name."""
    ids: set[str] = set()
    for target in targets:
        if "." not in target:  # all VMs, or all images, is more than anybody means
            raise graph.without_table(kinds, "--target", target)
        found = graph.matching(kinds, target)
        if all(is_patch(kinds[step_id]) for step_id in found):
            disk = StepId(target).parent
            raise UsageError(f"{target} changes a disk and makes none", hint=f"--target {disk}")
        ids.update(found)
    return frozenset(ids)


def _loss(opened: Store, wanted: Graph, ids: Collection[str], targets: tuple[str, ...]) -> Loss:
    records = [record for record in opened.records.values() if record.step_id in ids]
    own = [record for record in records if not is_patch(record.recipe.kind)]
    artifacts = {artifact for record in own for artifact in record.artifacts}
    immutable = graph.immutable(wanted)
    declared = [step for step in graph.all_steps(wanted) if step.id in ids and step.id not in immutable]
    artifacts |= {output for step in declared for output in step.outputs}
    for target in targets:
        artifacts.update(_left(opened, target))
    # VMs before images: no root is ever without what it stands on
    ordered = tuple(sorted(artifacts, key=lambda artifact: (ArtifactPath(artifact).table != "vm", artifact)))
    items = tuple(item for artifact in ordered for item in _items(opened, artifact))
    return Loss(targets, items, ordered, tuple(sorted(record.id for record in records)))


def _left(opened: Store, target: str) -> Iterator[str]:
    """What was made for a VM or an image, named as a whole, and is no step's any more."""
    asked = StepId(target)
    if asked.part:
        return
    if asked.table in PLAIN_TABLES:
        known = {artifact for record in opened.records.values() for artifact in record.artifacts}
        own = (artifact for artifact in opened.stamps if ArtifactPath(artifact).owner == asked)
        yield from (artifact for artifact in own if artifact not in known)
    elif asked.table == "image":
        for directory in dependents.image_directories(opened):
            if directory.startswith(f"{directory_of(asked)}/"):
                yield from (f"{directory}/{path.name}" for path in (opened.path / directory).iterdir())


def _items(opened: Store, artifact: str) -> Iterator[Item]:
    """What goes with an artifact: whatever is at its path, a symlink itself, and what lies beside a disk."""
    path = opened.path / artifact
    for place in (path, *interrupted.leftovers(path)):
        if not os.path.lexists(place) or (place.is_dir() and not place.is_symlink()):
            continue
        item = Item(str(place.relative_to(opened.path)), place.lstat().st_blocks * 512)
        is_disk = item.is_disk and opened.exists(artifact)
        yield replace(item, guests=is_disk and _is_guests(opened, artifact))


def _is_guests(opened: Store, artifact: str) -> bool:
    """Whether a disk is a guest's; one that was only copied with its store is not."""
    try:
        is_free = in_use.holder(opened.path / artifact) is None
        return opened.modified(artifact, may_read=is_free)
    except (OSError, StoreError):  # it can't be read
        return True


def _refuse_bases(opened: Store, loss: Loss) -> None:
    """An image stays as long as a root stands on it, or a launch file names it, that does not go too."""
    going = {item.artifact for item in loss.items}
    images = {
        directory: artifact for artifact in going if (directory := ArtifactPath(artifact).image_directory)
    }
    if not images:
        return
    if unreadable := [path for path in dependents.unreadable(opened) if path not in going]:
        raise StoreError(
            f"'{unreadable[0]}' can't be read: it can't be told which images are needed there",
            hint=OWNER_HINT,
        )
    if unknown := [artifact for artifact in dependents.unknown_stores(opened) if artifact not in going]:
        raise StoreError(f"no record says which image '{unknown[0]}' stands on", hint="move it away first")
    for directory, needing in sorted(dependents.dependents(opened, apart=going).items()):
        if directory in images:
            vms = sorted({one.owner for one in needing})
            raise StoreError(
                f"'{images[directory]}' is needed by {', '.join(vms)}",
                hint=f"bangerbuild destroy --target {vms[0]}, before it or along with it",
            )


def _refuse_used(opened: Store, loss: Loss) -> None:
    for owner in {StepId(target).owner for target in loss.targets if StepId(target).table == "vm"}:
        if _is_running(opened.path / directory_of(owner)):
            raise BusyError(
                f"'{owner.name}' is running: nothing was removed", hint=f"bangerbuild stop {owner.name}"
            )
    for item in loss.items:
        try:
            is_disk = item.is_disk and opened.exists(item.artifact)
            holder = in_use.holder(opened.path / item.artifact) if is_disk else None
        except OSError as err:
            raise store_error(err, opened.path / item.artifact) from err
        if holder:
            raise BusyError(
                f"'{item.artifact}' is in use by {holder}: nothing was removed",
                hint="shut the VM down first; a root that attach.sh set up is let go by detach.sh",
            )


def _is_running(directory: Path) -> bool:
    try:
        return run_directory.is_held(str(directory))
    except OSError as err:
        raise store_error(err, directory / run_directory.NAME) from err


def _remove(opened: Store, loss: Loss, warn: Callable[[str], None]) -> None:
    """A VM that starts on one of the disks meanwhile keeps all of them."""
    opened.mark(loss.records, destroyed=True)
    opened.forget(loss.records, loss.artifacts)
    directories.remove_empty(opened.path, {item.artifact.rpartition("/")[0] for item in loss.items})
    for target in loss.targets:
        try:
            _remove_directory(opened.path, target, warn)
        except OSError as err:
            raise store_error(err, opened.path / directory_of(StepId(target))) from err


def _remove_directory(top: Path, target: str, warn: Callable[[str], None]) -> None:
    """The directory of a VM or an image named as a whole; what else is kept there is named, and stays."""
    asked = StepId(target)
    directory = top / directory_of(asked)
    if asked.part or not directory.is_dir():
        return
    if directory.is_symlink():
        warn(f"'{directory}' stays: it is a symlink, and was not made here")
        return
    if (directory / ATTACHED_ROOT).is_symlink():  # of before a reboot: nothing holds the root
        (directory / ATTACHED_ROOT).unlink()
    _remove_run_directory(directory / run_directory.NAME)
    left = sorted(path.name for path in directory.iterdir())
    if left:
        warn(f"'{directory}' stays: what else is in it was not made here ({', '.join(left)})")
    else:
        directory.rmdir()


def _remove_run_directory(path: Path) -> None:
    """Remove what the last start of a VM left, if it is ours."""
    if not path.is_symlink() and path.is_dir() and path.stat().st_uid == os.geteuid():
        shutil.rmtree(path)


def loss_lines(loss: Loss) -> Iterator[str]:
    """What goes, to be agreed to."""
    width = max((len(item.artifact) for item in loss.items), default=0)
    for item in loss.items:
        whose = "  a guest's" if item.guests else ""
        yield f"  {item.artifact:<{width}}  {readable_size(item.size_bytes):>10}{whose}"


def summary_line(loss: Loss) -> str:
    """What went."""
    if not loss.targets:
        return "Nothing is undeclared."
    if not loss.items:
        return f"Nothing is left of {few(loss.targets)}."
    number = f"{len(loss.items)} artifact{'' if len(loss.items) == 1 else 's'}"
    return f"{number} of {few(loss.targets)} removed, {readable_size(loss.size_bytes)} freed."
