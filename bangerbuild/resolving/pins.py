"""Which bytes a manifest's sources stand for: by its own word, by the lock file, by what was built before.

Else whoever has them is asked; all but the asking is pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from bangerbuild.declared import HostFile, OciSource, Pin, PinnedSource
from bangerbuild.errors import LockFileError
from bangerbuild.resolving.lockfile import FILE_NAME, LockEntry, LockFile, asked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import TypeAlias

    from bangerbuild.declared import BootSource, Image, ImageSource, Manifest
    from bangerbuild.model import Record
    from bangerbuild.resolving.lockfile import Words

    Recorded: TypeAlias = Callable[[str], Record | None]

KEYS = ("rootfs", "work_seed", "kernel", "initrd")
FACT = "pin"
"""Under what a step's record keeps the words of the entry that it was built from."""


class World(Protocol):
    """Who knows what sources stand for today."""

    def ask(self, source: PinnedSource, before: Pin | None) -> Pin:
        """What a source elsewhere stands for now; `before` is what it did, as far as anybody remembers."""

    def digest(self, source: HostFile) -> str:
        """Of a file of the host: sha256 in hex."""


@dataclass(frozen=True)
class Wish:
    """How what is known already is to be taken."""

    needed: Callable[[str], bool] = lambda _place: True
    """Asked of each place: what nobody builds now, nobody is asked for."""
    ask: bool = True
    """Ask for what nobody remembers; else it stays without a pin."""
    locked: bool = False
    """Refuse what the lock file would have to be changed for."""
    whole: bool = False
    """Make the lock file anew: with files of the host, without what the manifest no longer asks for."""
    upgrade: Collection[str] = ()
    """Names of images whose sources are asked again."""


@dataclass(frozen=True)
class Settled:
    """A manifest whose needed sources are all pinned, and the lock file that says so."""

    manifest: Manifest
    lock: LockFile


def settle(
    manifest: Manifest, lock: LockFile, recorded: Recorded, world: World, wish: Wish | None = None
) -> Settled:
    """Pin every source that is needed.

    Args:
        manifest: as it was loaded.
        lock: what the lock file says now.
        recorded: a step's record in the store: what was built once need not be asked for again.
        world: asked for what nobody remembers, and for files of the host.
        wish: None: everything is needed, and nothing is moved.

    Raises:
        LockFileError: the lock file says something else than there is, or would have to be changed.
        SourceError, ToolError: what has to be asked gives no answer.
    """
    settling = _Settling(lock, recorded, world, wish or Wish())
    for place, source in _places(manifest):
        if settling.wish.needed(place):
            settling.look(place, source)
    settling.check()
    settling.ask()
    if not settling.pins:
        return Settled(manifest, settling.lock_then())
    images = {name: _pinned(image, settling.pins) for name, image in manifest.images.items()}
    return Settled(replace(manifest, images=images), settling.lock_then())


def fact(source: PinnedSource) -> dict[str, str | list[str]]:
    """What a step remembers of the pinned source that it was built from."""
    return dict(LockEntry.of(asked(source), source.pin).words) if source.pin else {}


@dataclass
class _Settling:
    lock: LockFile
    recorded: Recorded
    world: World
    wish: Wish
    pins: dict[str, Pin] = field(default_factory=dict)
    entries: dict[str, LockEntry] = field(default_factory=dict)
    """That hold from now on."""
    missing: list[tuple[str, PinnedSource, Words]] = field(default_factory=list)
    differing: list[tuple[str, str]] = field(default_factory=list)
    """Places, and the file there of which the lock file says something else."""

    def look(self, place: str, source: ImageSource | BootSource) -> None:
        """See what is known of a source."""
        words = asked(source)
        if isinstance(source, HostFile):
            self._look_at_host(place, words, lambda: Pin(self.world.digest(source)))
        elif isinstance(source, OciSource) and source.layout is not None:
            known = self._own(place, words)
            pin = self.pins[place] = self.world.ask(source, known.pin if known else None)
            self._look_at_host(place, words, lambda: pin)
        elif isinstance(source, PinnedSource) and source.pin is None:
            self._look_elsewhere(place, source, words)

    def _look_at_host(self, place: str, words: Words, today: Callable[[], Pin]) -> None:
        """What lies on the host speaks for itself, and must be what the lock file says, if that says it."""
        known = self._own(place, words)
        if known is None and not self.wish.whole:
            return
        entry = LockEntry.of(words, today())
        if known is not None and known != entry and not self._is_moved(place):
            self.differing.append((place, str(next(iter(words.values())))))
        self.entries[place] = entry

    def _look_elsewhere(self, place: str, source: PinnedSource, words: Words) -> None:
        known = None if self._is_moved(place) else self.lock.find(place, words) or self._built(place, words)
        if known is None:
            self.missing.append((place, source, words))
        else:
            self.pins[place] = known.pin
            self.entries[place] = LockEntry.of(words, known.pin)

    def _own(self, place: str, words: Words) -> LockEntry | None:
        entry = self.lock.entries.get(place)
        return entry if entry and entry.answers(words) else None

    def _built(self, place: str, words: Words) -> LockEntry | None:
        record = self.recorded(place)
        remembered = record.facts.get(FACT) if record else None
        entry = LockEntry(remembered) if isinstance(remembered, dict) else None  # type: ignore[arg-type] # our own
        return entry if entry and entry.answers(words) else None

    def _is_moved(self, place: str) -> bool:
        return place.split(".")[1] in self.wish.upgrade

    def check(self) -> None:
        """Whether the lock file is as it must be, before anybody is asked."""
        if self.differing:
            raise _differing(self.differing)
        changed = [place for place, entry in self.entries.items() if self.lock.entries.get(place) != entry]
        places = sorted([*changed, *(place for place, _, _ in self.missing)])
        if self.wish.locked and places:
            raise LockFileError(
                f"{FILE_NAME} would have to be changed for {', '.join(places)}", hint="bangerbuild lock"
            )

    def ask(self) -> None:
        """Ask for what is missing, each thing once."""
        told: list[tuple[Words, Pin]] = []
        for place, source, words in self.missing if self.wish.ask else ():
            known = self._own(place, words)
            again = next((pin for other, pin in told if other == words), None)
            pin = again or self.world.ask(source, known.pin if known else None)
            told.append((words, pin))
            self.pins[place] = pin
            self.entries[place] = LockEntry.of(words, pin)

    def lock_then(self) -> LockFile:
        """What the lock file has to say."""
        return LockFile(self.entries if self.wish.whole else {**self.lock.entries, **self.entries})


def _places(manifest: Manifest) -> Iterator[tuple[str, ImageSource | BootSource]]:
    for image in manifest.images.values():
        for key in KEYS:
            source = getattr(image, key)
            if source is not None:
                yield f"image.{image.name}.{key}", source


def _pinned(image: Image, pins: Mapping[str, Pin]) -> Image:
    found = {key: pins.get(f"image.{image.name}.{key}") for key in KEYS}
    changed = {key: replace(getattr(image, key), pin=pin) for key, pin in found.items() if pin}
    return replace(image, **changed) if changed else image


def _differing(differing: list[tuple[str, str]]) -> LockFileError:
    (place, written), *others = differing
    name = place.split(".")[1]
    return LockFileError(
        f"'{written}' of {place} is not what {FILE_NAME} says",
        details="\n".join(f"neither is '{other}' of {where}" for where, other in others) or None,
        hint=f"bangerbuild lock --upgrade {name}, if it is meant to be",
    )
