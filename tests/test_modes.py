"""Permission bits in words, judged by chmod itself."""

from __future__ import annotations

import os
import random
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild import manifest, modes
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

CASES = 300


def symbolic(chance: random.Random) -> str:
    """Some symbolic mode."""

    def action() -> str:
        letters = "".join(chance.choice("rwxXst") for _ in range(chance.randint(0, 4)))
        return chance.choice("-+=") + (chance.choice("ugo") if chance.random() < 0.2 else letters)

    def clause() -> str:
        who = "".join(chance.choice("ugoa") for _ in range(chance.randint(0, 3)))
        return who + "".join(action() for _ in range(chance.randint(1, 3)))

    return ",".join(clause() for _ in range(chance.randint(1, 3)))


def garbled(text: str, chance: random.Random) -> str:
    """The same with a letter more somewhere."""
    at = chance.randint(0, len(text))
    return text[:at] + chance.choice("ugorwxXst,=+ q") + text[at:]


def made(path: Path, mode: int, *, is_directory: bool) -> Path:
    if is_directory:
        path.mkdir()
    else:
        path.touch()
    path.chmod(mode)
    return path


def chmod(mode: str, path: Path) -> int | None:
    """What chmod makes of it under umask 0; None: it refuses the mode."""
    done = subprocess.run(
        [need("chmod", "coreutils"), "--", mode, str(path)], check=False, capture_output=True, umask=0
    )
    return path.stat().st_mode & modes.ALL if done.returncode == 0 else None


def ours(mode: str, before: int, *, is_directory: bool) -> int | None:
    wanted = modes.parsed(mode)
    return None if wanted is None else modes.applied(wanted, before, is_directory=is_directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="of others chmod clears set-gid bits of foreign groups")
def test_a_symbolic_mode_does_what_chmod_does_and_is_refused_where_chmod_refuses(tmp_path: Path) -> None:
    chance = random.Random("modes")  # noqa: S311 - the same cases each time
    differing = []
    for number in range(CASES):
        mode = symbolic(chance)
        mode = garbled(mode, chance) if number % 5 == 0 else mode
        before, is_directory = chance.randrange(modes.ALL + 1), number % 2 == 0
        path = made(tmp_path / str(number), before, is_directory=is_directory)
        wanted = chmod(mode, path)
        if ours(mode, before, is_directory=is_directory) != wanted:
            differing.append((mode, oct(before), is_directory, wanted))
    assert differing == []


@pytest.mark.parametrize(
    ("mode", "file", "script", "directory"),
    [
        ("u=rwX,go=rX", 0o644, 0o755, 0o755),
        ("go-w", 0o600, 0o700, 0o700),
        ("0644", 0o644, 0o644, 0o644),
        ("g=u", 0o660, 0o770, 0o770),
        ("+x", 0o711, 0o711, 0o711),
        ("=", 0, 0, 0),
    ],
)
def test_the_modes_of_a_tree_that_a_umask_of_077_has_made(
    mode: str, file: int, script: int, directory: int
) -> None:
    assert ours(mode, 0o600, is_directory=False) == file
    assert ours(mode, 0o700, is_directory=False) == script
    assert ours(mode, 0o700, is_directory=True) == directory


def test_no_mode_keeps_that_of_the_host() -> None:
    assert modes.applied(None, 0o4751, is_directory=False) == 0o4751


@pytest.mark.parametrize("text", ["", "rwx", "u", "u=rwq", "u=rw,", "u=ug", "0888", "7", "00644x", "u=rw\n"])
def test_what_is_no_mode_is_none(text: str) -> None:
    assert modes.parsed(text) is None


@given(text=st.text("ugoarwxXst-+=,0467", max_size=8))
def test_the_schema_and_the_parser_take_the_same(text: str) -> None:

    pattern = manifest.schema()["$defs"]["mode_change"]["pattern"]
    assert bool(re.search(pattern.replace("$", r"\Z"), text)) == (modes.parsed(text) is not None)
