"""The `Host` of a real run: digests and surveys of files, versions of tools, holders of disks."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk import clone, in_use, libext2fs, tools
from bangerbuild.errors import SourceError, StoreError, ToolError
from bangerbuild.formats import digest, hostfile
from bangerbuild.formats import survey as surveying
from bangerbuild.formats.directory import leaves_out
from bangerbuild.host import process
from bangerbuild.model import Host
from bangerbuild.model.recipe import TIME_TOOL
from bangerbuild.planning import walks

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bangerbuild.epoch import Epoch
    from bangerbuild.formats.hostentry import TreeRules
    from bangerbuild.formats.survey import Survey
    from bangerbuild.model import Revealed, Secret, Source
    from bangerbuild.planning.secrets import Secrets
    from bangerbuild.store import Store


PATIENCE_SECONDS = 6.0
"""How long those who only read a disk are waited for, all of them together."""
UNPINNED = "unpinned"
"""The digest of a source elsewhere of which nobody has asked what it stands for, as `status` need not."""


class Surveys:
    """The host trees of one run, each walked once: by the plan, for the jobs that read them too.

    A large one is remembered for the next run, see `walks`. Memory: some 0.8 KB for each entry.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[Path, TreeRules], Survey] = {}

    def holds(self, source: Source) -> bool:
        """Whether the tree was walked."""
        return (source.path, source.rules) in self._kept

    def of(self, source: Source, cache: digest.DigestCache) -> Survey:
        """The tree; walked now if it was not before.

        Raises:
            SourceError: it can't be read.
        """
        if source.path is None or source.rules is None:
            raise TypeError(f"'{source.written}' is no tree of this host")
        key = source.path, source.rules
        with self._lock:
            if key not in self._kept:
                before = walks.remembered(*key)
                found = surveying.survey(*key, cache=cache, written=source.written, before=before)
                walks.remember(*key, found)
                self._kept[key] = found
            return self._kept[key]


class LocalHost(Host):
    """The `Host` this program runs on. Digests are remembered in the store, by what stat says of the file.

    Args:
        store: where they are remembered.
        epoch: the time for all that we make ourselves, which counts among the tools.
        surveys: the trees that were walked already; None: none was.
        secrets: that were read for this run; None: none was.
    """

    def __init__(
        self, store: Store, epoch: Epoch, surveys: Surveys | None = None, secrets: Secrets | None = None
    ) -> None:
        self._secrets = secrets
        self._cache = _StoredDigests(store)
        self._parts_cache = _StoredDigests(store, ":parts")
        self._store = store.path.absolute()
        self._surveys = Surveys() if surveys is None else surveys
        self._epoch = epoch
        self._versions: dict[str, str] = {}
        self._left_seconds = PATIENCE_SECONDS

    @override
    def digest(self, source: Source) -> str:
        if source.secret is not None:
            return self._known_secrets.digest(source.secret)
        if source.path is None:
            return source.pin or UNPINNED
        if source.rules is None:
            return self._file_digest(source.path, source)
        source = replace(source, rules=source.rules.without(source.path.absolute(), self._store))
        self._refuse_store_in(source)
        if source.surveyed and not self._surveys.holds(source):
            return self.survey(source).digest
        if source.surveyed and (known := self.survey(source)).is_as_seen():
            return known.digest
        return self._tree_digest(source)

    def _file_digest(self, path: Path, source: Source) -> str:
        least_bytes = source.parts_from_bytes
        if least_bytes is None or hostfile.check_is_file(path, source.written).st_size < least_bytes:
            return digest.file_digest(path, cache=self._cache, written=source.written)
        return _parts_digest(path, source.written, self._parts_cache)

    def _tree_digest(self, source: Source) -> str:
        if source.path is None or source.rules is None:
            raise ValueError(f"'{source.written}' is no tree")
        return digest.tree_digest(source.path, source.rules, cache=self._cache, written=source.written)

    def _refuse_store_in(self, source: Source) -> None:
        """Refuse a tree that holds the store: it changes while it is read, and would hold itself.

        Told by the paths alone: to follow links would be to look at more than the tree.
        """
        if source.path is None or source.rules is None:
            return
        top = source.path.absolute()
        if not self._store.is_relative_to(top):
            return
        inside = str(self._store.relative_to(top))
        if inside == "." or not leaves_out(source.rules, inside):
            leave_out = f"""`exclude = ["/{inside}"]`"""
            raise SourceError(
                f"'{source.written}' holds the store, '{inside}'",
                hint=f"leave it out ({leave_out}, in a file_sync), or put it elsewhere: --store DIR",
            )

    @override
    def survey(self, source: Source) -> Survey:
        return self._surveys.of(source, self._cache)

    @override
    def revealed(self, secret: Secret) -> Revealed:
        return self._known_secrets.revealed(secret)

    @property
    def _known_secrets(self) -> Secrets:
        if self._secrets is None:
            raise TypeError("no secret was read for this run")
        return self._secrets

    @override
    def version(self, tool: str) -> str:
        if tool == TIME_TOOL:
            return self._epoch.version
        if tool not in self._versions:
            self._versions[tool] = VERSIONS[tool]()
        return self._versions[tool]

    @override
    def holder(self, path: Path) -> str | None:
        """Who holds a file open; waits for readers, see `PATIENCE_SECONDS`.

        Raises:
            StoreError: the disk can't be opened, as one that belongs to somebody else.
        """
        begun = time.monotonic()
        try:
            return in_use.holder(path, min(self._left_seconds, in_use.PATIENCE_SECONDS))
        except OSError as err:
            raise StoreError(f"'{path}': {(err.strerror or str(err)).lower()}") from err
        finally:
            self._left_seconds = max(0.0, self._left_seconds - (time.monotonic() - begun))


def e2fsprogs_version() -> str:
    """Of mke2fs and its kin, such as `1.47.0`.

    Raises:
        ToolError: they are not installed, or print something unheard of.
    """
    printed = process.run(tools.version()).output
    found = re.search(r"mke2fs (\S+)", printed)
    if found is None:
        raise ToolError(f"mke2fs does not say its version: '{printed.strip()}'")
    return found[1]


VERSIONS: Mapping[str, Callable[[], str]] = {"e2fsprogs": e2fsprogs_version, "libext2fs": libext2fs.version}


def _parts_digest(path: Path, written: str, cache: digest.DigestCache) -> str:
    """The `clone.digest` of a file that stays as it is while it is read."""
    found = hostfile.check_is_file(path, written)
    is_settled = digest.is_settled(found)
    known = cache.get(str(path), found) if is_settled else None
    if known is not None:
        return known
    try:
        known = clone.digest(path)
        is_same = hostfile.identity(path.stat()) == hostfile.identity(found)
    except OSError as err:
        raise hostfile.unreadable(err, written) from err
    if not is_same:
        raise hostfile.changed(written)
    if is_settled:
        cache.put(str(path), found, known)
    return known


class _StoredDigests(digest.DigestCache):
    """A DigestCache in the store: one row for each inode, and kind of digest.

    Args:
        store: where they are.
        kind: ends the keys of a kind that is not the SHA-256 of the content.
    """

    def __init__(self, store: Store, kind: str = "") -> None:
        self._store = store
        self._kind = kind

    @override
    def get(self, path: str, found: os.stat_result) -> str | None:  # the inode is enough
        key, stamp = _key_and_stamp(found)
        return self._store.get(key + self._kind, stamp)

    @override
    def put(self, path: str, found: os.stat_result, digest: str) -> None:  # the inode is enough
        key, stamp = _key_and_stamp(found)
        self._store.put(key + self._kind, stamp, digest)


def _key_and_stamp(found: os.stat_result) -> tuple[str, str]:
    device, inode, *rest = digest.stat_key(found)
    return f"{device}:{inode}", ":".join(map(str, rest))
