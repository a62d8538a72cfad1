"""The bill of materials of an image in the store: what is installed in it, by its own databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bangerbuild
from bangerbuild.bill import installed, spdx
from bangerbuild.commands import browse
from bangerbuild.model.request import epoch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.commands.image_list import StoredImage


def sbom(image: StoredImage, store: Path, warn: Callable[[str], None]) -> str:
    """An SPDX document of an image, in JSON.

    Args:
        image: which one.
        store: the store's directory.
        warn: is told what may be wrong about what is read.

    Raises:
        SourceError: the image has no database of packages that can be read.
        FilesystemError: the image can't be read.
    """
    with browse.opened_disk(store / image.artifact, None, warn=warn) as filesystem:
        found, system = installed.packages(filesystem), installed.distribution(filesystem)
    described = spdx.Described(image.name, image.fingerprint, system)
    return spdx.text(spdx.document(described, found, epoch=epoch(), version=bangerbuild.__version__))
