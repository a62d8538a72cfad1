"""The images in a store, what each was made of and what stands on it; for `image ls` and `image show`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from bangerbuild.errors import StoreError, UsageError, readable_size
from bangerbuild.model import StepId
from bangerbuild.neighbours import near
from bangerbuild.resolving.lockfile import PIN_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bangerbuild.model import Json, Record
    from bangerbuild.store import Store

HEAD = ("NAME", "FINGERPRINT", "SIZE", "ALLOCATED", "SOURCE", "KERNEL", "USED BY")
SHOWN_DIGITS = 12
PARTS = ("work_seed", "kernel", "initrd")
NOTHING = "-"


@dataclass(frozen=True)
class StoredImage:
    """One root filesystem that VMs can stand on."""

    name: str
    fingerprint: str
    artifact: str
    """Relative to the store."""
    size_bytes: int
    allocated_bytes: int
    source: str
    """As the manifest had it when the image was made."""
    pin: Mapping[str, Json]
    """What that stood for, as the lock file has it; empty for what lies on the host."""
    partition: Mapping[str, Json]
    """Which partition of a disk image it is, and why; empty for others."""
    config: Mapping[str, Json]
    """What a container image says of the program it is made for; empty for others."""
    kernel: str | None
    """The release of the image's newest kernel."""
    parts: tuple[str, ...]
    """The artifacts of the image's seed, kernel and initrd."""
    used_by: tuple[str, ...]
    """Ids of the steps whose artifacts stand on it."""
    is_current: bool
    """Whether it is the one that was made last under this name."""

    def to_json(self) -> dict[str, Json]:
        """As `image ls --json` shows it."""
        return cast("dict[str, Json]", {"path": self.artifact, **asdict(self)})


def stored(store: Store, warn: Callable[[str], None]) -> tuple[StoredImage, ...]:
    """Every image that is there, by name; of one name the current one first.

    `warn` is told of those that can't be looked at.
    """
    found = []
    for record in filter(_is_kept_rootfs, store.records.values()):
        try:
            if all(map(store.exists, record.artifacts)):
                found.append(_image(record, store))
        except StoreError as err:
            warn(f"{err.brief}: it is not listed")
    return tuple(sorted(found, key=lambda image: (image.name, not image.is_current, image.fingerprint)))


def named(images: Sequence[StoredImage], name: str) -> StoredImage:
    """The one that was made last under a name, or the one of a fingerprint that begins so.

    Raises:
        UsageError: there is none.
    """
    for image in images:
        if image.name == name or image.fingerprint.startswith(name):
            return image
    known = ", ".join(dict.fromkeys(image.name for image in images))
    hint = near(name, (image.name for image in images)) or (f"there are: {known}" if known else None)
    raise UsageError(f"no image '{name}' is in the store", hint=hint)


def lines(images: Sequence[StoredImage]) -> Iterator[str]:
    """A table to read."""
    rows = [HEAD, *map(_row, images)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def details(image: StoredImage) -> Iterator[str]:
    """Everything about one image."""
    rows = {
        "name": image.name,
        "fingerprint": image.fingerprint,
        "path": image.artifact,
        "size": f"{readable_size(image.size_bytes)}, {readable_size(image.allocated_bytes)} allocated",
        "source": image.source,
        **({"partition": _text(dict(image.partition))} if image.partition else {}),
        **{key: _text(value) for key, value in image.pin.items()},
        **{f"config {key}": _text(value) for key, value in image.config.items() if value},
        "kernel": image.kernel or "none",
        "beside it": "\n".join(image.parts),
        "used by": "\n".join(image.used_by) or "nothing",
    }
    width = max(map(len, rows))
    for key, text in rows.items():
        for number, line in enumerate(text.splitlines()):
            yield f"{key if number == 0 else '':<{width}}  {line}"


def _is_kept_rootfs(record: Record) -> bool:
    """Each recipe's run is kept under its own fingerprint, beside that of the step's last run."""
    return record.id != record.step_id and StepId(record.step_id).part == "rootfs"


def _image(record: Record, store: Store) -> StoredImage:
    step_id = record.step_id
    name = StepId(step_id).name
    artifact = record.artifacts[0]
    status = (store.path / artifact).stat()
    last = store.records.get(step_id)
    parts = [part for key in PARTS if (part := store.records.get(StepId.image(name, key)))]
    kernel = next((part for part in parts if StepId(part.id).part == "kernel"), None)
    return StoredImage(
        name=name,
        fingerprint=record.fingerprint,
        artifact=artifact,
        size_bytes=status.st_size,
        allocated_bytes=status.st_blocks * 512,
        source=str(record.facts.get("source") or ", ".join(record.recipe.sources)),
        pin={key: value for key, value in _table(record, "pin").items() if key in PIN_KEYS},
        partition=_table(record, "partition"),
        config=_table(record, "config"),
        kernel=cast("str | None", kernel.facts.get("release")) if kernel else None,
        parts=tuple(artifact for part in parts for artifact in part.artifacts if store.may_exist(artifact)),
        used_by=tuple(sorted(_users(store, step_id, record))),
        is_current=last is not None and last.fingerprint == record.fingerprint,
    )


def _table(record: Record, key: str) -> Mapping[str, Json]:
    value = record.facts.get(key)
    return value if isinstance(value, dict) else {}


def _users(store: Store, step_id: str, image: Record) -> Iterator[str]:
    """Roots that stand on it, and images that were made from it."""
    for record in store.records.values():
        if "@" in record.id or not any(map(store.may_exist, record.artifacts)):
            continue
        is_derived = (
            record.recipe.inputs.get(step_id) == image.fingerprint and StepId(record.id).part == "rootfs"
        )
        if record.facts.get("base") == image.artifacts[0] or is_derived:
            yield record.id


def _row(image: StoredImage) -> tuple[str, ...]:
    users = [StepId(step_id).owner for step_id in image.used_by]
    return (
        image.name if image.is_current else f"{image.name} (old)",
        image.fingerprint[:SHOWN_DIGITS],
        readable_size(image.size_bytes),
        readable_size(image.allocated_bytes),
        image.source,
        image.kernel or NOTHING,
        ", ".join(users) or NOTHING,
    )


def _text(value: Json) -> str:
    """A value to read: a list or table one item a line."""
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, dict):
        return "\n".join(f"{key}={item}" for key, item in value.items())
    return str(value)
