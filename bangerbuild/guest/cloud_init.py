"""What cloud-init is told in an image that was the disk of a machine: that there is no cloud here.

Without that, it asks for a metadata server at every boot, for minutes where none answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class Root(Protocol):
        """A root filesystem, to be read."""

        def read(self, path: str) -> bytes | None:
            """The content of a file; None where there is none."""


CONFIG = "/etc/cloud/cloud.cfg"
NO_CLOUD = "/etc/cloud/cloud.cfg.d/zz-bangerbuild-datasource.cfg"
"""Read after all that images have there: the last file counts."""
SEED = "/var/lib/cloud/seed/"
_TEXT = b"""\
# There is no metadata server. With `guest.cloud_init = "keep"` this is not said.
datasource_list: [ None ]
"""
_KEPT = b'# Nothing is said here: `guest.cloud_init` is "keep".\n'


def no_cloud(root: Root) -> GuestEdits:
    """What is written into such an image; nothing without cloud-init."""
    return GuestEdits((GuestFile(NO_CLOUD, _TEXT),)) if root.read(CONFIG) is not None else GuestEdits()


def kept(root: Root) -> GuestEdits:
    """What takes that back in one VM's root."""
    return GuestEdits((GuestFile(NO_CLOUD, _KEPT),)) if root.read(NO_CLOUD) is not None else GuestEdits()


def unheard_seeds(root: Root, paths: Iterable[str]) -> Iterable[str]:
    """Yield a warning if files are declared that only a cloud-init with data sources reads."""
    seeds = sorted(path for path in paths if path.startswith(SEED))
    if seeds and root.read(NO_CLOUD) is not None:
        yield (
            f"cloud-init does not read '{seeds[0]}', because it is told that there is no data source: "
            'guest.cloud_init = "keep" leaves it as it is'
        )
