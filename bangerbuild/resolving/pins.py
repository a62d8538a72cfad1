"""Which bytes a manifest's sources stand for: by the manifest, by the lock file, by what was built before.

Only where none of them says it, the source itself is asked. All but the asking is pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.errors import LockFileError
from bangerbuild.leases import FILE_NAME
from bangerbuild.model import StepId
from bangerbuild.resolving import lockfile
from bangerbuild.resolving.lockfile import LockEntry, LockFile
from bangerbuild.sources.source import PIN_FACT, Resolution

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import TypeAlias

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Pin, Record
    from bangerbuild.sources.source import AskContext, DeclaredSource, LockWords

    Recorded: TypeAlias = Callable[[str], Record | None]

KEYS = ("rootfs", "work_seed", "kernel", "initrd")
"""The keys of an image that name a source. Its place, `image.NAME.KEY`, is also the id of its step."""


@dataclass(frozen=True)
class ResolveOptions:
    """Which sources are resolved, and by whose word."""

    needed: Callable[[str], bool] = lambda _place: True
    """Whether a place is built from now; of other places nothing is asked."""
    ask: bool = True
    """Ask a source that nothing is known of; else it stays without a pin."""
    locked: bool = False
    """Refuse what the lock file would have to be changed for."""
    whole: bool = False
    """Make the lock file anew: with files of the host, without what the manifest no longer asks for."""
    is_others: Callable[[str], bool] = lambda _name: False
    """Whether another manifest of the directory declares an image of this name: its entries stay."""
    upgrade: Collection[str] = ()
    """Names of images whose sources are asked again."""


@dataclass(frozen=True)
class Settled:
    """The pins of the sources that are needed, by place, and the lock file that says so."""

    pins: Mapping[str, Pin]
    lock: LockFile


def settle(
    manifest: Manifest,
    lock: LockFile,
    recorded: Recorded,
    context: AskContext,
    options: ResolveOptions | None = None,
) -> Settled:
    """Pin every source that is needed.

    Args:
        manifest: as it was loaded.
        lock: what the lock file says now.
        recorded: a step's record in the store: what was built once need not be asked for again.
        context: for sources that are asked.
        options: None: everything is needed, and nothing is asked again.

    Raises:
        LockFileError: the lock file says something else than there is, or would have to be changed.
        SourceError, ToolError: what has to be asked gives no answer.
    """
    settling = _Settling(lock, recorded, context, options or ResolveOptions(), frozenset(manifest.images))
    for place, source in _places(manifest):
        if settling.options.needed(place):
            settling.look(place, source)
    settling.check()
    settling.ask()
    return Settled(settling.pins, settling.lock_then())


@dataclass
class _Settling:
    lock: LockFile
    recorded: Recorded
    context: AskContext
    options: ResolveOptions
    images: frozenset[str] = frozenset()
    """That the manifest declares."""
    pins: dict[str, Pin] = field(default_factory=dict)
    entries: dict[str, LockEntry] = field(default_factory=dict)
    """That hold from now on."""
    missing: list[tuple[str, DeclaredSource, LockWords]] = field(default_factory=list)
    differing: list[tuple[str, str]] = field(default_factory=list)
    """Places, and what is there on the host of which the lock file says something else."""

    def look(self, place: str, source: DeclaredSource) -> None:
        """See what is known of a source."""
        words = source.lock_words
        if words is not None:
            _LOOKS[source.resolution](self, place, source, words)

    def look_at_content(self, place: str, source: DeclaredSource, words: LockWords) -> None:
        """What is read on the host must be what the lock file says, if the lock file says it."""
        known = self._own(place, words)
        if known is not None or self.options.whole:
            self._compare(place, words, known, source.ask(self.context, None))

    def look_elsewhere(self, place: str, source: DeclaredSource, words: LockWords) -> None:
        """What lies elsewhere is what the manifest says, else the lock file, else what was built."""
        if source.own_pin is not None:
            self.pins[place] = source.own_pin
            return
        known = None if self._is_moved(place) else self.lock.find(place, words) or self._built(place, words)
        if known is None:
            self.missing.append((place, source, words))
        else:
            self.pins[place] = known.pin
            self.entries[place] = LockEntry.of(words, known.pin)

    def _compare(self, place: str, words: LockWords, known: LockEntry | None, today: Pin) -> None:
        entry = LockEntry.of(words, today)
        if known is not None and known != entry and not self._is_moved(place):
            self.differing.append((place, str(next(iter(words.values())))))
        self.entries[place] = entry

    def _own(self, place: str, words: LockWords) -> LockEntry | None:
        entry = self.lock.entries.get(place)
        return entry if entry and entry.answers(words) else None

    def _built(self, place: str, words: LockWords) -> LockEntry | None:
        record = self.recorded(place)
        remembered = record.facts.get(PIN_FACT) if record else None
        entry = lockfile.remembered(remembered)
        return entry if entry and entry.answers(words) else None

    def _is_moved(self, place: str) -> bool:
        return StepId(place).name in self.options.upgrade

    def check(self) -> None:
        """Whether the lock file is as it must be, before anything is asked."""
        if self.differing:
            raise _differing(self.differing)
        changed = [place for place, entry in self.entries.items() if self.lock.entries.get(place) != entry]
        places = sorted([*changed, *(place for place, _, _ in self.missing)])
        if self.options.locked and places:
            raise LockFileError(
                f"{FILE_NAME} would have to be changed for {', '.join(places)}", hint="bangerbuild lock"
            )

    def ask(self) -> None:
        """Ask for what is missing, each thing once."""
        told: list[tuple[LockWords, Pin]] = []
        for place, source, words in self.missing if self.options.ask else ():
            known = self._own(place, words)
            again = next((pin for other, pin in told if other == words), None)
            pin = again or source.ask(self.context, known.pin if known else None)
            told.append((words, pin))
            self.pins[place] = pin
            self.entries[place] = LockEntry.of(words, pin)

    def lock_then(self) -> LockFile:
        """What the lock file has to say."""
        kept = self.lock.entries
        if self.options.whole:
            kept = {key: one for key, one in kept.items() if self._is_others(key)}
        return LockFile({**kept, **self.entries})

    def _is_others(self, place: str) -> bool:
        """Whether an entry is another manifest's, and not of an image that this one has too."""
        name = StepId(place).name
        return name not in self.images and self.options.is_others(name)


_LOOKS: Mapping[Resolution, Callable[[_Settling, str, DeclaredSource, LockWords], None]] = {
    Resolution.READ: _Settling.look_at_content,
    Resolution.LOCKED: _Settling.look_elsewhere,
}


def _places(manifest: Manifest) -> Iterator[tuple[str, DeclaredSource]]:
    for image in manifest.images.values():
        for key in KEYS:
            source: DeclaredSource | None = getattr(image, key)
            if source is not None:
                yield StepId.image(image.name, key), source


def _differing(differing: list[tuple[str, str]]) -> LockFileError:
    (place, written), *others = differing
    name = StepId(place).name
    return LockFileError(
        f"'{written}' of {place} is not what {FILE_NAME} says",
        details="\n".join(f"neither is '{other}' of {where}" for where, other in others) or None,
        hint=f"bangerbuild lock --upgrade {name}, if it is meant to be",
    )
