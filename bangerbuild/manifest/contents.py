"""What a `[[file]]` holds: its `content`, a template in it or in a file of the host, or a secret."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bangerbuild.errors import Problem
from bangerbuild.host.secrets import SecretCommand, SecretFile, SecretVariable
from bangerbuild.manifest import templates
from bangerbuild.manifest.problems import InvalidValueError, ToldError, quoted
from bangerbuild.manifest.templates import MOST_CHARACTERS
from bangerbuild.manifest.toml_lines import dotted
from bangerbuild.manifest.values import existing, host_path
from bangerbuild.model import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.host.secrets import SecretOrigin
    from bangerbuild.manifest.files import Location, Table
    from bangerbuild.manifest.problems import Findings

LEAVE_OUT = "leave it out"


@dataclass(frozen=True)
class ContentTemplate:
    """A template that gives the content of a file."""

    template: templates.Template
    place: Location
    """Of what says it: `content`, or `host`."""
    file: Path | None = None
    """The host file that it stands in, as the user would type it."""

    def rendered(self, known: Mapping[str, Any], findings: Findings) -> str:
        """The content; empty where there is a problem."""
        try:
            return self.template.render(known)
        except ToldError:
            return ""
        except InvalidValueError as err:
            findings.problems.append(_problem(err, self.place, self.file))
            return ""


@dataclass(frozen=True)
class FileContent:
    """What a `[[file]]` says of its content."""

    text: str
    mtime_ns: int
    """Of the host file that it stands in."""
    template: ContentTemplate | None = None
    secret: Secret | None = None


def file_content(table: Table, place: Location, findings: Findings) -> FileContent:
    """The content of a `[[file]]`; empty where there is a problem."""
    nothing = FileContent("", place.document.mtime_ns)
    is_template = table.get("template", False)
    if "content" not in table and "host" not in table:
        if not place.document.is_refused_below(place.key):  # it may be a misspelt key
            findings.add(place, "'content' is missing")
        return nothing
    if isinstance(table.get("content"), dict):
        return _secret_content(table, place, findings)
    if "host" not in table:
        content = FileContent(table["content"], place.document.mtime_ns)
        return _compiled(content, place / "content", None, findings) if is_template else content
    if "content" in table:
        findings.add(place / "host", "both content and host say what is in the file", "leave one of them")
        return nothing
    if not is_template:
        hint = "write template = true, or copy it as it is with [[file_sync]]"
        findings.add(place / "host", "'host' in [[file]] names a template, and template is not true", hint)
        return nothing
    read = partial(_read, directory=place.document.path.parent)
    content = findings.attempt(place / "host", read, table["host"], nothing)
    return _compiled(content, place / "host", place.document.path.parent / table["host"], findings)


def _secret_content(table: Table, place: Location, findings: Findings) -> FileContent:
    """The content of a `[[file]]` that is a secret, which is not read here."""
    said = place / "content"
    nothing = FileContent("", place.document.mtime_ns)
    if place.key[0] == "image":
        hint = f'declare the file of the VMs that need it: [[vm.NAME.file]], guest = "{table["guest"]}"'
        findings.add(said, "an image holds no secrets: all its VMs share it, and it may be pushed", hint)
        return nothing
    for key in ("host", "template"):
        if table.get(key):
            message = f"'{key}' does not go with a secret, which is taken as it is"
            findings.add(place / key, message, LEAVE_OUT)
    origin = findings.attempt(said, partial(_origin, place.document.path.parent), table["content"], None)
    if origin is None:
        return nothing
    line = place.document.line(said.key)
    secret = Secret(origin, str(place.document.path), line, dotted(said.key))
    return replace(nothing, secret=secret)


def _origin(directory: Path, table: Table) -> SecretOrigin | None:
    """Where a secret comes from; None where the schema refused what says so."""
    if "env" in table:
        return SecretVariable(table["env"])
    if "file" in table:
        path = host_path(table["file"], directory)
        return SecretFile(path.path, path.written)
    if "command" in table:
        return SecretCommand(tuple(table["command"]), directory.absolute())
    return None


def _read(text: str, directory: Path) -> FileContent:
    path = existing(host_path(text, directory), "file")
    try:
        with path.path.open("rb") as file:
            data = file.read(MOST_CHARACTERS + 1)
        mtime_ns = path.path.stat().st_mtime_ns
        content = data.decode()
    except OSError as err:
        raise InvalidValueError(
            f"{quoted(text)} can't be read: {(err.strerror or str(err)).lower()}"
        ) from err
    except UnicodeDecodeError as err:
        raise InvalidValueError(f"{quoted(text)} is no template: it is not UTF-8") from err
    if len(data) > MOST_CHARACTERS:
        raise InvalidValueError(f"{quoted(text)} is larger than {MOST_CHARACTERS >> 20} MiB")
    return FileContent(content, mtime_ns)


def _compiled(content: FileContent, place: Location, file: Path | None, findings: Findings) -> FileContent:
    try:
        template = templates.compiled(content.text)
    except InvalidValueError as err:
        findings.problems.append(_problem(err, place, file))
        return content
    return FileContent(content.text, content.mtime_ns, ContentTemplate(template, place, file))


def _problem(err: InvalidValueError, place: Location, file: Path | None) -> Problem:
    """The problem of a template, at its line: in the manifest, or in a file of its own."""
    if file is None:
        return place.problem(str(err), err.hint, err.line)
    return Problem(str(file), err.line, dotted(place.key), str(err), err.hint)
