"""What a Dockerfile starts from: the images of its FROM lines, of `COPY --from` and of `RUN --mount`.

Only as much of the language is read as names images (docs.docker.com/reference/dockerfile): parser
directives, continued lines, here-documents, ARG before the first FROM. `pinned` writes the file again with
other names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.reference import parse_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SCRATCH = "scratch"
_ESCAPE_DIRECTIVE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*[a-z][a-z0-9-]*\s*=.*", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?([\"']?)([A-Za-z_][A-Za-z0-9_]*)\1")
_HAS_HEREDOC = ("RUN", "COPY", "ADD")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})")
_COPY_FROM = re.compile(r"(--from=)(\S+)")
_MOUNT_FROM = re.compile(r"(--mount=(?:\S*,)?from=)([^\s,]+)")
_ARGUMENT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")


@dataclass(frozen=True)
class Base:
    """An image that a build starts from or copies out of."""

    name: str
    """In full: `docker.io/library/debian:12`."""
    platform: str | None = None
    """As `--platform` asks for it; None: that of the build."""

    def __str__(self) -> str:
        return self.name if self.platform is None else f"{self.name} for {self.platform}"


@dataclass(frozen=True)
class _Instruction:
    word: str
    rest: str
    """In one line, without its here-documents."""
    lines: tuple[str, ...]
    """As they stand in the file; comments before it too."""


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile that has been read.

    Args:
        text: its content.
        arguments: of the build, by their names.
        written: its name in messages.
        target: the name of the stage that is built, if it is not the last; nothing after that counts.
    """

    text: str
    arguments: Mapping[str, str]
    written: str
    target: str | None = None

    def bases(self) -> tuple[Base, ...]:
        """The images, each once.

        Raises:
            SourceError: it is no Dockerfile, or names an image that can't be one.
        """
        met: dict[Base, None] = {}
        self._go_through(lambda base: met.setdefault(base) or str(base))
        return tuple(met)

    def stages(self) -> tuple[str, ...]:
        """The names of its stages, those after the target too."""
        return tuple(name for one in _instructions(self.text) if (name := _stage_name(one)))

    def pinned(self, names: Mapping[Base, str]) -> str:
        """The file with each image named as `names` has it."""
        return self._go_through(names.__getitem__)

    def _instructions(self) -> Iterator[_Instruction]:
        """Up to the end of the target: no builder builds what comes after it."""
        target, is_met = (self.target or "").lower(), False
        for instruction in _instructions(self.text):
            if instruction.word == "FROM":
                if is_met:
                    return
                is_met = bool(target) and _stage_name(instruction) == target
            yield instruction

    def _go_through(self, name_of: _NameOf) -> str:
        """The file again, after each image in it was asked for its name."""
        known, stages = (
            dict(self.arguments),
            [_stage_name(one) for one in self._instructions() if one.word == "FROM"],
        )
        out: list[str] = []
        before = 0
        defaults: dict[str, str] = {}
        others = self._copied(stages)
        for instruction in self._instructions():
            if instruction.word == "ARG" and not before:
                defaults |= self._defaults(instruction, defaults | known)
            if instruction.word == "FROM":
                values = defaults | {key: known[key] for key in known.keys() & defaults.keys()}
                out.append(self._from(instruction, values, stages[:before], name_of))
                before += 1
            else:
                out += [self._renumbered(line, instruction, stages, others) for line in instruction.lines]
        if not before:
            raise SourceError(f"'{self.written}' is no Dockerfile: it has no FROM")
        added = [f"FROM {name_of(Base(str_name(text)))} AS {_stage(n)}" for n, text in enumerate(others)]
        return "\n".join([*_directives(self.text), *added, *out]) + "\n"

    def _copied(self, stages: Sequence[str]) -> list[str]:
        """The images that `COPY --from` and `RUN --mount` name."""
        found: dict[str, None] = {}
        for instruction in self._instructions():
            expression = _EXPRESSIONS.get(instruction.word)
            for match in expression.finditer(instruction.rest) if expression else ():
                if match[2].lower() not in stages and not match[2].isdecimal():
                    found.setdefault(match[2])
        return list(found)

    def _renumbered(
        self, line: str, instruction: _Instruction, stages: Sequence[str], others: Sequence[str]
    ) -> str:
        """A line with the images in it as the stages that stand for them; numbers go on from those."""
        expression = _EXPRESSIONS.get(instruction.word)
        if expression is None or not others:
            return line

        def renamed(match: re.Match[str]) -> str:
            if match[2].isdecimal():
                return f"{match[1]}{int(match[2][:9]) + len(others)}"
            is_image = match[2].lower() not in stages and match[2] in others
            return match[1] + (_stage(others.index(match[2])) if is_image else match[2])

        return expression.sub(renamed, line)

    def _defaults(self, instruction: _Instruction, known: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in _ARGUMENT.findall(instruction.rest):
            found[name] = self._expanded(value.strip("\"'"), {**known, **found})
        return found

    def _from(
        self, instruction: _Instruction, values: Mapping[str, str], stages: Sequence[str], name_of: _NameOf
    ) -> str:
        words = instruction.rest.split()
        flags = [word for word in words if word.startswith("--")]
        image, *more = [word for word in words if not word.startswith("--")] or [""]
        name = self._expanded(image, values)
        if name == SCRATCH or name.lower() in stages:
            return " ".join(["FROM", *flags, name, *more])
        platform = next((flag.partition("=")[2] for flag in flags if flag.startswith("--platform=")), None)
        asked = self._expanded(platform, values) if platform and not _is_usual(platform) else None
        try:
            base = Base(str_name(name), asked)
        except SourceError as err:
            brief = f"'{self.written}' has a FROM of '{name}', which names no image"
            raise SourceError(brief, hint=err.hint) from err
        return " ".join(["FROM", *flags, name_of(base), *more])

    def _expanded(self, text: str, values: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            name, form, word = match[1] or match[2], match[3] or "", match[4] or ""
            found = values.get(name)
            is_set = found is not None and (bool(found) or not form.startswith(":"))
            if form.endswith("+"):
                return word if is_set else ""
            return str(found) if is_set else word

        return _VARIABLE.sub(value, text)


def str_name(text: str) -> str:
    """A name of an image in full; SourceError if it is none."""
    return str(parse_name(text)).removeprefix("docker://")


def _stage_name(instruction: _Instruction) -> str:
    """What a FROM line calls its stage; empty if it does not, or is another line."""
    words = instruction.rest.split() if instruction.word == "FROM" else []
    return words[-1].lower() if len(words) > 2 and words[-2].upper() == "AS" else ""


def _is_usual(platform: str) -> bool:
    """Whether a platform is that of the build, or of this host, which are the same here."""
    return "TARGETPLATFORM" in platform or "BUILDPLATFORM" in platform


def _stage(number: int) -> str:
    return f"bangerbuild-image-{number}"


def _escape(text: str) -> str:
    for line in text.split("\n"):
        if match := _ESCAPE_DIRECTIVE.fullmatch(line.strip()):
            return match[1]
        if not _DIRECTIVE.fullmatch(line.strip()):
            break
    return "\\"


def _directives(text: str) -> Iterator[str]:
    """The directives for the parser, which have to come first; comments that may be meant as one too."""
    for line in text.split("\n"):
        if not _DIRECTIVE.fullmatch(line.strip()):
            return
        yield line


def _instructions(text: str) -> Iterator[_Instruction]:
    escape = _escape(text)
    lines = iter(text.split("\n")[len([*_directives(text)]) :])
    for first in lines:
        taken, logical = [first], first.strip()
        if not logical or logical.startswith("#"):
            continue
        while logical.endswith(escape) and (line := next(lines, None)) is not None:
            taken.append(line)
            is_text = line.strip() and not line.strip().startswith("#")
            logical = logical[: -len(escape)] + line.strip() if is_text else logical
        word, _, rest = logical.partition(" ")
        if word.upper() in _HAS_HEREDOC:
            for _, end in _HEREDOC.findall(rest):
                taken += _heredoc(lines, end)
        yield _Instruction(word.upper(), rest.strip(), tuple(taken))


def _heredoc(lines: Iterator[str], end: str) -> Iterator[str]:
    for line in lines:
        yield line
        if line.strip("\t") == end:
            return


_EXPRESSIONS = {"COPY": _COPY_FROM, "ADD": _COPY_FROM, "RUN": _MOUNT_FROM}

if TYPE_CHECKING:
    from collections.abc import Callable

    _NameOf = Callable[[Base], str]
