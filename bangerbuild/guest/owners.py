"""Translate owners in a manifest, `user:group`, to the numbers that the guest has for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError

if TYPE_CHECKING:
    from bangerbuild.guest.view import GuestView

MAX_ID = 2**32 - 2
"""2**32 - 1 means "no id" for the kernel."""


class Owners:
    """Resolves owners by a guest's passwd and group files, which are read when a name is first needed."""

    def __init__(self, view: GuestView) -> None:
        self._view = view
        self._tables: dict[str, dict[str, int]] = {}

    def ids(self, owner: str) -> tuple[int, int]:
        """The user and group number of `user:group`; `root` is 0, numbers are taken as they are.

        Raises:
            SourceError: the guest has no such user or group, a number is too large, or a part is missing.
            FilesystemError: the guest's passwd or group exists and can't be read.
        """
        user, _, group = owner.partition(":")
        if not user or not group:
            raise SourceError(
                f"owner '{owner}' is not of the form 'user:group'",
                hint="write it like 'root:root' or '1000:1000'",
            )
        return self._id(user, owner, "/etc/passwd"), self._id(group, owner, "/etc/group")

    def _id(self, name: str, owner: str, table: str) -> int:
        if name == "root":
            return 0
        if not _is_number(name):
            return self._named(name, owner, table)
        number = int(name)
        if number > MAX_ID:
            raise SourceError(f"owner '{owner}': {name} is past {MAX_ID}, the largest id there is")
        return number

    def _named(self, name: str, owner: str, table: str) -> int:
        if table not in self._tables:
            self._tables[table] = _ids_by_name(self._view.read(table) or b"")
        try:
            return self._tables[table][name]
        except KeyError:
            raise SourceError(
                f"owner '{owner}': '{name}' is not in the guest's {table}",
                hint="use a number, or a name that the image knows",
            ) from None


def _ids_by_name(table: bytes) -> dict[str, int]:
    """Parse passwd(5) or group(5): both have the name in the first field and its number in the third."""
    ids: dict[str, int] = {}
    for line in table.split(b"\n"):
        name, *rest = os.fsdecode(line).split(":")
        # The first line of a name counts, as for getpwnam(3).
        if not name.startswith("#") and len(rest) >= 2 and _is_number(rest[1]) and int(rest[1]) <= MAX_ID:
            ids.setdefault(name, int(rest[1]))
    return ids


def _is_number(text: str) -> bool:
    # int() refuses very long numbers; no id has as many digits.
    return text.isascii() and text.isdigit() and len(text) <= 20
