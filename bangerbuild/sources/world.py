"""Who knows what a manifest's sources stand for today: see `pins.World`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.declared import OciSource, UrlBoot, UrlSource
from bangerbuild.model import Source
from bangerbuild.sources import container, downloads, packages

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.declared import HostFile, Pin, PinnedSource
    from bangerbuild.sources.means import Means


class RemoteWorld:
    """The world as this host sees it.

    Args:
        digest: of a file of the host.
        means: how what lies elsewhere is had.
    """

    def __init__(self, digest: Callable[[Source], str], means: Means) -> None:
        self._digest = digest
        self._means = means

    def ask(self, source: PinnedSource, before: Pin | None) -> Pin:
        """See World."""
        if isinstance(source, UrlSource | UrlBoot):
            return downloads.ask(source, self._means)
        if isinstance(source, OciSource):
            return container.ask(source, before, self._means)
        return packages.ask(source, self._means)

    def digest(self, source: HostFile) -> str:
        """See World."""
        return self._digest(Source("", source.path.path, source.path.written))
