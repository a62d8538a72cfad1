"""The lock file, made or moved; and what can be told of steps without a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild import manifest
from bangerbuild.model import unseen
from bangerbuild.model.request import epoch
from bangerbuild.pipeline.loading import Loaded, refuse_unknown_image
from bangerbuild.pipeline.looking import secrets_of
from bangerbuild.planning import recovering
from bangerbuild.planning.host import LocalHost, Surveys
from bangerbuild.resolving.pins import ResolveOptions
from bangerbuild.resolving.resolve import Asking, resolve

if TYPE_CHECKING:
    from bangerbuild.model import Progress
    from bangerbuild.planning.recovering import Found
    from bangerbuild.resolving.resolve import Resolved
    from bangerbuild.store import Store


def lock(loaded: Loaded, upgrade: str | None, progress: Progress = unseen) -> Resolved:
    """Make the lock file, or move what is in it.

    Args:
        loaded: the manifest.
        upgrade: the image whose sources are asked again; empty: all; None: none.
        progress: told how far downloads are.

    Raises:
        UsageError, LockFileError: nothing was touched.
    """
    if upgrade:
        refuse_unknown_image(loaded.manifest, upgrade)
    names = () if upgrade is None else (upgrade,) if upgrade else tuple(loaded.manifest.images)
    asking = Asking(loaded.store, epoch(), loaded.request.offline, progress)
    others = manifest.images_beside(loaded.manifest.files)
    choices = ResolveOptions(
        whole=True, upgrade=names, is_others=lambda name: others is None or name in others
    )
    resolved = resolve(loaded.manifest, choices, asking)
    resolved.write()
    return resolved


def recover(loaded: Loaded, opened: Store) -> Found:
    """What can be told of declared steps of which a store has no record; the store learns it.

    Raises:
        SourceError, FetchError, ToolError: a source that has to be asked gives no answer.
    """
    seconds = epoch()
    asking = Asking(loaded.store, seconds, loaded.request.offline, unseen, opened)
    resolved = resolve(loaded.manifest, ResolveOptions(), asking)
    secrets = secrets_of(loaded, lambda: opened.secrets_key(loaded.new_key))
    host = LocalHost(opened, seconds, Surveys(), secrets)
    return recovering.recover(loaded.whole, opened, host, epoch=seconds, pins=resolved.pins)
