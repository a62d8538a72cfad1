"""Where images, VMs and networks are declared: the file and line of each, for who points at them later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.host import toml
from bangerbuild.manifest.toml_lines import key_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.declared import Manifest

TABLES = ("image", "vm", "network", "fleet")


def declared_at(found: Manifest) -> dict[str, tuple[str, int]]:
    """The file and line of each table, by ids such as `vm.web`; a member of a fleet is where that is.

    A file that can't be read once more, such as a pipe, is left out.
    """
    places: dict[str, tuple[str, int]] = {}
    for path in found.files:
        for name, line in _tables(path):
            places.setdefault(name, (str(path), line))
    for fleet, members in found.fleets.items():
        if (place := places.get(f"fleet.{fleet}")) is not None:
            for member in members:
                places.setdefault(f"vm.{member}", place)
    return places


def _tables(path: Path) -> Iterator[tuple[str, int]]:
    if not path.is_file():
        return
    try:
        text, _ = toml.read(path, may_be_pipe=False)
        toml.parse(text)
    except (OSError, toml.TomlError):  # it was changed since it was loaded
        return
    for key, line in key_lines(text).items():
        if len(key) == 2 and key[0] in TABLES:
            yield f"{key[0]}.{key[1]}", line
