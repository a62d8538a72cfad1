"""Whether a store has artifacts and no records of them: its database was lost.

A disk that a user puts into a new store is no sign of that, for any disk may be adopted. An image under its
fingerprint, and a disk that stands on one, are made here alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bangerbuild.disk import formats
from bangerbuild.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

_FINGERPRINT = re.compile("[0-9a-f]{32}")


def has_artifacts(store: Path) -> bool:
    """Whether something lies in a store that only this program makes."""
    suffixes = tuple(one.suffix for one in formats.standing_on_base())
    if any(path.name.endswith(suffixes) for path in store.glob("vms/*/*")):
        return True
    images = (path for path in store.glob("images/*/*/*") if _FINGERPRINT.fullmatch(path.parent.name))
    return next(images, None) is not None


def lost_error(store: Path) -> StoreError:
    """The error for a store whose records are lost."""
    return StoreError(
        f"the store '{store}' has artifacts and no records of them: nothing is changed",
        hint="`bangerbuild recover` makes records of what lies in the store",
    )
