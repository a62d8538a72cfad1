"""The command lines that the up-to-date check understands: `apply` with manifests and plain options."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # the name alone is known to type checkers; importing typing takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Texts = tuple[str, ...]
    Key = tuple[str, Texts, str | None, Texts, bool, bool, Texts, Texts, str | None]

DEFAULT_MANIFEST = "vm.toml"
COMPLETION = "_BANGERBUILD_COMPLETE"
"""Where it is set, click answers a shell, whatever the command line says."""
MANY_DIGITS = 10
SHARED_FLAGS = {"-q": "quiet", "--quiet": "quiet", "--locked": "locked", "--offline": "offline"}
"""What every command has that builds, such as `boot`."""
SHARED_OPTIONS = {
    "-j": "jobs",
    "--jobs": "jobs",
    "--lock-timeout": "seconds",
    "--store": "store",
    "--node": "node",
    "--var": "variables",
    "--var-file": "files",
}
"""The same of what has a value."""
FLAGS = {**SHARED_FLAGS, "-k": "keep_going", "--keep-going": "keep_going"}
OPTIONS = {**SHARED_OPTIONS, "--target": "targets"}
REPEATED = ("targets", "variables", "files")
"""The options that may be given several times."""


class Asked:
    """What a command line asks for."""

    def __init__(self, key: Key, *, quiet: bool) -> None:
        self.key = key
        self.quiet = quiet


def key(  # noqa: PLR0913  # one for each option that counts
    manifests: Sequence[str],
    store: str | None,
    targets: Sequence[str],
    *,
    locked: bool,
    offline: bool,
    variables: Sequence[str] = (),
    variable_files: Sequence[str] = (),
    node: str | None = None,
) -> Key:
    """The key of a command line's record: different for two that may have different answers.

    Paths are as pathlib writes them. The current directory counts, because they may be relative to it.

    Raises:
        OSError: the current directory is gone.
    """
    given = tuple(variables), tuple(variable_files)
    return os.getcwd(), tuple(manifests), store, tuple(targets), locked, offline, *given, node


def asked(arguments: Sequence[str]) -> Asked | None:
    """What the arguments ask for; None if they are left to click: another command, an option not known."""
    if not arguments or arguments[0] != "apply" or COMPLETION in os.environ:
        return None
    found = split(arguments[1:], FLAGS, OPTIONS, REPEATED)
    if found is None:
        return None
    manifests, options, lists, flags = found
    if not are_numbers(options, wholes=("jobs",), seconds=("seconds",)):
        return None
    if not are_settings(lists["variables"]):
        return None
    try:
        return Asked(
            key(
                [plain(path) for path in manifests] or [DEFAULT_MANIFEST],
                plain(options["store"]) if "store" in options else None,
                lists["targets"],
                locked="locked" in flags,
                offline="offline" in flags,
                variables=lists["variables"],
                variable_files=[plain(path) for path in lists["files"]],
                node=options.get("node"),
            ),
            quiet="quiet" in flags,
        )
    except OSError:
        return None


def split(
    words: Sequence[str], known_flags: Mapping[str, str], known_options: Mapping[str, str], repeated: Texts
) -> tuple[list[str], dict[str, str], dict[str, list[str]], set[str]] | None:
    """Arguments, options, options that may be repeated, and flags; None if there is anything else.

    Args:
        words: the command line after the command.
        known_flags: what is called what.
        known_options: the same of options with a value.
        repeated: those of them that may be given several times.
    """
    arguments: list[str] = []
    options: dict[str, str] = {}
    lists: dict[str, list[str]] = {name: [] for name in repeated}
    flags: set[str] = set()
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            arguments.append(word)
        elif word in known_flags:
            flags.add(known_flags[word])
        else:
            name, value = _option(word, rest, known_options)
            if name is None or not value or value.startswith("-"):
                return None
            if name in lists:
                lists[name].append(value)
            else:
                options[name] = value
    return arguments, options, lists, flags


def _option(word: str, rest: Iterator[str], known: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The option that a word is, with its value: behind it, or the next word."""
    if word in known:
        return known[word], next(rest, None)
    if word.startswith("-j"):
        return "jobs", word[2:]
    name, equals, value = word.partition("=")
    return (known.get(name) if name.startswith("--") and equals else None), value


def are_numbers(options: Mapping[str, str], wholes: Texts, seconds: Texts) -> bool:
    """Whether those of the options that are there are whole numbers, or numbers of seconds."""
    return all(_is_number(options.get(name, "1")) for name in wholes) and all(
        _is_seconds(options.get(name, "0")) for name in seconds
    )


def are_settings(variables: Sequence[str]) -> bool:
    """Whether each of them is KEY=VALUE."""
    return all(one.find("=") > 0 for one in variables)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < MANY_DIGITS and int(text) > 0


def _is_seconds(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def plain(path: str) -> str:
    """A path as pathlib writes it."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return ("/" if path.startswith("/") else "") + "/".join(parts)
