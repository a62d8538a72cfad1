"""`Host`, the Protocol of what planning needs of this host: digests, versions of tools, holders of disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.formats.survey import Survey
    from bangerbuild.model.content import Revealed, Secret, Source


class Host(Protocol):
    """What planning asks of this host."""

    def digest(self, source: Source) -> str:
        """Of the content of a host file or directory, which is looked at each time.

        Raises:
            SourceError: it can't be read.
        """

    def survey(self, source: Source) -> Survey:
        """The host tree or file at the time of the first look; may be asked by several threads.

        Raises:
            SourceError: it can't be read.
        """

    def revealed(self, secret: Secret) -> Revealed:
        """A secret, as it was read for this run; may be asked by several threads."""

    def version(self, tool: str) -> str:
        """Of a program or library.

        Raises:
            ToolError: it is not installed.
        """

    def holder(self, path: Path) -> str | None:
        """Who else on this host holds a file open."""
