"""Whether a store has artifacts and no records of them: its database was lost.

A disk that a user puts into a new store is no sign of that, for any disk may be adopted. An image under its
fingerprint, and a disk that stands on one, are made here alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk import formats
from bangerbuild.errors import StoreError
from bangerbuild.model.artifacts import IMAGE_DIRECTORIES, VM_FILES, is_image_directory

if TYPE_CHECKING:
    from pathlib import Path


def has_artifacts(store: Path) -> bool:
    """Whether something lies in a store that only this program makes."""
    suffixes = tuple(one.suffix for one in formats.standing_on_base())
    if any(path.name.endswith(suffixes) for path in store.glob(VM_FILES)):
        return True
    images = (path.parent for path in store.glob(f"{IMAGE_DIRECTORIES}/*"))
    return any(is_image_directory(str(path.relative_to(store))) for path in images)


def lost_error(store: Path) -> StoreError:
    """The error for a store whose records are lost."""
    return StoreError(
        f"the store '{store}' has artifacts and no records of them: nothing is changed",
        hint="`bangerbuild recover` makes records of what lies in the store",
    )
