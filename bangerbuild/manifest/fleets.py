"""`[fleet.NAME]`: who is in it, by `names` or by `matrix`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from bangerbuild.manifest import ranges, templates
from bangerbuild.manifest.files import Location
from bangerbuild.manifest.form import NAME
from bangerbuild.manifest.problems import Findings, InvalidValueError, quoted
from bangerbuild.neighbours import near, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.manifest.files import ManifestFile, Table
    from bangerbuild.manifest.merge import MergedVM

KNOWN = (
    "name",
    "index",
    "address",
    "prefix",
    "gateway",
    "mac",
    "hostname",
    "image",
    "vars",
    "fleet",
    "vms",
)
"""What templates know of every member; no axis of a matrix may have one of these names."""
_NUMBER = re.compile("[0-9]+")
_OF_MATRIX = ("exclude", "name")


@dataclass(frozen=True)
class Member:
    """One VM of a fleet."""

    name: str
    place: Location
    """Where its name is said."""
    axes: Mapping[str, Any] = field(default_factory=dict)
    """Its value on each axis of the matrix."""


@dataclass(frozen=True)
class Fleet:
    """A fleet, and who is in it."""

    name: str
    place: Location
    members: tuple[Member, ...]
    vars: Mapping[str, Any]

    @property
    def document(self) -> ManifestFile:
        """The file that it stands in."""
        return self.place.document

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its members, in order."""
        return tuple(member.name for member in self.members)


def fleets(
    documents: Sequence[ManifestFile],
    variables: Mapping[ManifestFile, Mapping[str, Any]],
    findings: Findings,
) -> tuple[Fleet, ...]:
    """The fleets of all files; no name is in two of them."""
    first: dict[str, Fleet] = {}
    found = []
    for document in documents:
        for name, table in document.tree.get("fleet", {}).items():
            place = Location(document, ("fleet", name))
            known = variables[document]
            members = tuple(_once(_members(table, place, known, findings), findings))
            fleet = Fleet(name, place, members, known)
            for member in members:
                other = first.setdefault(member.name, fleet)
                if other is not fleet:
                    message = f"'{member.name}' is a member of fleet '{other.name}' already, in {other.place}"
                    findings.add(member.place, message, "rename one of them")
            found.append(fleet)
    return tuple(found)


def check_members(vms: Sequence[MergedVM], fleets: Sequence[Fleet], findings: Findings) -> set[str]:
    """Finds VMs without an image of their own that look like overrides, and are no members.

    Returns:
        Their names.
    """
    members = {name: fleet for fleet in fleets for name in fleet.names}
    alike = {_NUMBER.sub("0", name): name for name in members}
    told = set()
    for vm in vms if members else ():
        if vm.name in members or "image" in vm.layers[-1].table or vm.is_refused():
            continue
        has_image = vm.get("image", None) is not None
        meant = nearest(vm.name, members)
        close = alike.get(_NUMBER.sub("0", vm.name)) or (None if has_image else meant)
        if close:  # a VM with the image of the defaults may well have a name that is near
            names = members[close].names
            hint = f"did you mean '{meant}'?" if meant else f"it has {names[0]} to {names[-1]}"
            message = (
                f"'{vm.name}' is no member of fleet '{members[close].name}', and has no image of its own"
            )
            findings.add(vm.own, message, f"{hint} A VM that is no member gives its image itself")
            told.add(vm.name)
    return told


def _once(members: Iterator[Member], findings: Findings) -> Iterator[Member]:
    found: dict[str, Member] = {}
    for member in members:
        before = found.setdefault(member.name, member)
        if before is member:
            yield member
        elif member.axes:
            one, other = _axes(before), _axes(member)
            message = f"name gives '{member.name}' twice: for {one}, and for {other}"
            findings.add(member.place, message, "name every axis in it")
        else:
            findings.add(member.place, f"'{member.name}' is named twice", "leave one of them")


def _members(
    table: Table, place: Location, variables: Mapping[str, Any], findings: Findings
) -> Iterator[Member]:
    is_refused = place.document.is_refused_below
    if "matrix" in table and "names" in table:
        findings.add(place / "names", "both names and matrix say who is in the fleet", "leave one of them")
    elif "matrix" in table:
        yield from _of_matrix(table, place, variables, findings)
        return
    for key in _OF_MATRIX:
        if key in table and not is_refused((*place.key, "matrix")):
            findings.add(place / key, f"'{key}' goes with matrix only", "leave it out")
    if "names" in table:
        yield from _named(table["names"], place / "names", variables, findings)
    elif not any(is_refused((*place.key, key)) for key in ("names", "matrix")):
        hint = f'give names, such as "{place.key[-1]}-{{001..010}}", or matrix'
        findings.add(place, "nothing says who is in the fleet", hint)


def _named(
    value: str | list[str], place: Location, variables: Mapping[str, Any], findings: Findings
) -> Iterator[Member]:
    read = partial(_names, variables=variables)
    nobody: tuple[str, ...] = ()
    texts = [(value, place)] if isinstance(value, str) else [(one, place / i) for i, one in enumerate(value)]
    count = 0
    for text, said in texts:
        names: tuple[str, ...] = findings.attempt(said, read, text, nobody)
        for name in names:
            count += 1
            yield Member(name, said)
            if count > ranges.MOST_NAMES:
                findings.add(place, f"the fleet has more than {ranges.MOST_NAMES} members")
                return


def _names(text: str, variables: Mapping[str, Any]) -> tuple[str, ...]:
    found = tuple(ranges.expanded(_rendered(text, {"vars": variables})))
    for name in found:
        _check_name(name)
    return found


def _of_matrix(
    table: Table, place: Location, variables: Mapping[str, Any], findings: Findings
) -> Iterator[Member]:
    axes = dict(_values(table["matrix"], place / "matrix", variables, findings))
    excluded = list(_excluded(table.get("exclude", ()), place / "exclude", axes, variables, findings))
    used: set[int] = set()
    pattern = table.get("name", "-".join((str(place.key[-1]), *(f"{{{{ {axis} }}}}" for axis in axes))))
    said = place / "name" if "name" in table else place / "matrix"
    points = list(islice(product(*axes.values()), ranges.MOST_NAMES + 1))
    if len(points) > ranges.MOST_NAMES:
        findings.add(place / "matrix", f"the fleet has more than {ranges.MOST_NAMES} members")
        return
    for values in points:
        point = dict(zip(axes, values, strict=True))
        fitting = {index for index, one in excluded if one.items() <= point.items()}
        used |= fitting
        if not fitting:
            name = findings.attempt(said, partial(_member_name, point=point, vars_=variables), pattern, "")
            if name:
                yield Member(name, said, point)
    for index, one in excluded:
        if index not in used:
            message = f"nothing in the matrix has {_shown(one)}: this excludes nothing"
            findings.add(place / "exclude" / index, message, "leave it out")


def _member_name(pattern: str, point: Mapping[str, Any], vars_: Mapping[str, Any]) -> str:
    name = _rendered(pattern, {**point, "vars": vars_})
    try:
        return _check_name(name)
    except InvalidValueError as err:
        raise InvalidValueError(
            f"{err} (for {_shown(point)})", "give name, which may change a value by a filter"
        ) from err


def _values(
    matrix: Table, place: Location, variables: Mapping[str, Any], findings: Findings
) -> Iterator[tuple[str, list[Any]]]:
    """Each axis with its values."""
    for axis, values in matrix.items():
        if axis in KNOWN:
            findings.add(
                place / axis, f"'{axis}' is what templates call something else", "name the axis otherwise"
            )
            continue
        found: list[Any] = []
        for index, written in enumerate(values):
            said = place / axis / index
            value = findings.attempt(said, partial(_rendered, known={"vars": variables}), written, written)
            if value in found:
                findings.add(said, f"{quoted(value)} is on the axis twice", "leave one of them")
            else:
                found.append(value)
        yield axis, found


def _excluded(
    tables: Sequence[Table],
    place: Location,
    axes: Mapping[str, Sequence[Any]],
    variables: Mapping[str, Any],
    findings: Findings,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each entry of `exclude` that names axes there are, by its index."""
    for index, table in enumerate(tables):
        said = place / index
        unknown = [axis for axis in table if axis not in axes]
        for axis in unknown:
            hint = near(axis, axes) or f"the axes are {', '.join(axes)}"
            findings.add(said / axis, f"the matrix has no axis '{axis}'", hint)
        if not table:
            findings.add(said, "an empty table would exclude everything", "give values of axes")
        elif not unknown:
            known = {"vars": variables}
            yield (
                index,
                {
                    axis: findings.attempt(said / axis, partial(_rendered, known=known), value, value)
                    for axis, value in table.items()
                },
            )


def _rendered(value: Any, known: Mapping[str, Any]) -> Any:  # noqa: ANN401  any TOML value
    return templates.compiled(value).render(known) if templates.is_template(value) else value


def _check_name(name: str) -> str:
    if not name:
        raise InvalidValueError("a member has no name: it is empty", "give it one")
    if not NAME.fullmatch(name):
        expected = "at most 63 of a-z, 0-9 and, not first, '-' and '_'"
        raise InvalidValueError(f"{quoted(name)} is no name for a VM: give {expected}")
    return name


def _axes(member: Member) -> str:
    return _shown(member.axes)


def _shown(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis} {quoted(value)}" for axis, value in point.items())
