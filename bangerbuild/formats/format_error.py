"""The error of the parsers in this package, which know what is wrong but not with whom."""

from __future__ import annotations

from bangerbuild.errors import SourceError


class FormatError(SourceError):
    """What is wrong with an entry or header. The brief is a predicate: "has a damaged sparse map"."""
