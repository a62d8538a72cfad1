"""The error of parsers that know what is wrong, but not the name of the file or entry that they parse."""

from __future__ import annotations

from bangerbuild.errors import SourceError


class FormatError(SourceError):
    """A defect of an entry or header.

    The brief is a predicate, "has a damaged sparse map"; the caller names it.
    """
