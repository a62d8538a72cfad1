"""The error of the parsers in this package, which know what is wrong but not with whom."""

from __future__ import annotations

from bangerbuild.errors import SourceError


class Unfit(SourceError):  # noqa: N818 - it is the predicate of an error, and its subject is put in front
    """What is wrong with an entry or header. The brief is a predicate: "has a damaged sparse map"."""
