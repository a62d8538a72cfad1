"""`typing.override`, which Python has from 3.12 on.

The decorator says that a method takes the place of a base class's. mypy checks that the base has one, and the
docstring is the base's.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

__all__ = ["override"]

_T = TypeVar("_T")

if TYPE_CHECKING:
    from typing_extensions import override
elif sys.version_info >= (3, 12):
    from typing import override
else:

    def override(method: _T) -> _T:
        """Change nothing."""
        return method
