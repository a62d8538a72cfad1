"""What steps that make immutable artifacts share: an image's disks, its kernel and its initrd."""

from __future__ import annotations

import posixpath
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from bangerbuild.declared import HostBoot, UrlBoot
from bangerbuild.formats.hostfile import check_is_file
from bangerbuild.model import Reason, ReasonCode, Source, Verb, Verdict
from bangerbuild.resolving.pins import FACT, fact
from bangerbuild.sources import downloads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.declared import BootSource
    from bangerbuild.model import Json, Situation, Workspace


def judge(situation: Situation) -> Verdict:
    """A changed recipe makes a new artifact beside the old one; a missing or damaged one is made again."""
    if situation.record is None or situation.missing:
        return Verdict(Verb.CREATE, (*situation.changes, Reason(ReasonCode.MISSING)))
    if situation.changes:
        return Verdict(Verb.CREATE, situation.changes)
    if situation.modified():
        path = _common(situation.record.artifacts)
        return Verdict(Verb.REPLACE, (Reason(ReasonCode.ARTIFACT_MODIFIED, {"path": path}),))
    return Verdict(Verb.KEEP)


def _common(artifacts: tuple[str, ...]) -> str:
    """The artifact; of several, which lie together, their directory: nobody says which was changed."""
    return artifacts[0] if len(artifacts) == 1 else posixpath.commonpath(artifacts)


def boot_sources(key: str, source: BootSource) -> tuple[Source, ...]:
    """What of a `kernel` or `initrd` is read that is no other step's: one role, wherever it lies."""
    if isinstance(source, HostBoot):
        return (Source(key, source.path.path, source.written),)
    if isinstance(source, UrlBoot):
        return (Source(key, None, source.written, pin=source.pin.digest if source.pin else None),)
    return ()


@contextmanager
def opened_boot(source: HostBoot | UrlBoot, workspace: Workspace) -> Iterator[Path]:
    """The file that a `kernel` or `initrd` is, for as long as this is open.

    Raises:
        SourceError, FetchError: it can't be had.
    """
    if isinstance(source, HostBoot):
        check_is_file(source.path.path, source.written)
        yield source.path.path
    else:
        with downloads.opened(source, workspace) as blob:
            yield blob.path


def boot_facts(source: BootSource) -> dict[str, Json]:
    """What is remembered of where a `kernel` or `initrd` came from."""
    if isinstance(source, UrlBoot):
        return {FACT: cast("Json", fact(source))}
    return {}
