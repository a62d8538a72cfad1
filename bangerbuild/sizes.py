"""Sizes in bytes, as messages and tables show them: `16 GiB`, `1.5 MiB`, `512 bytes`."""

from __future__ import annotations

UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def readable(size_bytes: int) -> str:
    """A size in the largest unit that it reaches, rounded to one decimal."""
    for unit_bytes, name in UNITS:
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f}".removesuffix(".0") + f" {name}"
    return f"{size_bytes} bytes"
