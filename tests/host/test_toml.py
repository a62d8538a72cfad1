"""TOML read within limits: what is valid is read as tomllib reads it, and anything else is one error."""

from __future__ import annotations

import os
import threading
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.host import toml
from bangerbuild.host.toml import MOST_DEEP, TomlError, parse, read

if TYPE_CHECKING:
    from pathlib import Path

DOTS = "." * 500
LONG_KEY = ".".join(["a"] * 1000)
QUOTED_KEY = " . ".join(["'a'", '"b"'] * 500)


def message(text: str) -> tuple[str, int]:
    with pytest.raises(TomlError) as caught:
        parse(text)
    return str(caught.value), caught.value.line


@pytest.mark.parametrize(
    "text",
    [
        f'a = "{DOTS}"',
        f"a = '{DOTS}'",
        f'a = """\n{DOTS}\n{DOTS}"{DOTS}""{DOTS}\\"""{DOTS}""""',
        f"a = '''\n{DOTS}'{DOTS}''{DOTS}'''''\nb = 1",
        f"a = 1 # {DOTS}",
        f'["{DOTS}"]\n"{DOTS}"."{DOTS}" = 1',
        "a = [" + "1.5," * 500 + "]",
        "a = [" + ",".join(f"{{b.c.d = {number}.5}}" for number in range(200)) + "]",
        ".".join(["a"] * MOST_DEEP) + " = 1",
    ],
)
def test_dots_that_part_no_key_are_not_counted(text: str) -> None:
    assert parse(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{LONG_KEY} = 1", 1),
        (f"a = 1\n[{LONG_KEY}]", 2),
        (f"\n\n[[{LONG_KEY}]]", 3),
        (f"a = {{ {LONG_KEY} = 1 }}", 1),
        (f'a = """\n"""\n{QUOTED_KEY} = 1', 3),
        (f"a = 1 # '\n{LONG_KEY} = 1", 2),
        (f"'#' = 1\n{LONG_KEY} = 1", 2),
    ],
)
def test_a_key_of_many_parts_is_refused_with_its_line(text: str, line: int) -> None:
    assert message(text) == ("not TOML that can be read: a key has more than 100 parts", line)


@pytest.mark.parametrize("opening", ['"""', "'''", '"', "'", '"""\\"', '"a\\'])
def test_a_text_without_an_end_is_no_work(opening: str) -> None:
    said, _ = message(f"a = {opening}{(DOTS + 'a') * 100}{'.a' * 200}")
    assert said.startswith("not valid TOML: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 100_000, "it is nested too deeply"),
        ("a = " + "[" * 150 + "]" * 150, "it is nested too deeply"),
        ("a = " + "{a.b.c.d.e.f.g=" * 20 + "1" + "}" * 20, "it is nested too deeply"),
        ("a = " + "9" * 5000, "a number has too many digits"),
        ("a = 0x" + "f" * 5000, "an integer has more than 64 bits"),
        ("a = [{ b = -9223372036854775809 }]", "an integer has more than 64 bits"),
    ],
)
def test_what_tomllib_reads_without_limits_is_refused(text: str, said: str) -> None:
    assert message(text) == (f"not TOML that can be read: {said}", 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[vm.web]\n[vm.web]\n", "not valid TOML: cannot declare 'vm.web' twice at column 8"),
        ("[[a]]\n[a]\n", "not valid TOML: cannot declare 'a' twice at column 3"),
        ('["it\'s".b]\n["it\'s".b]\n', "not valid TOML: cannot declare 'it's.b' twice at column 10"),
    ],
)
def test_a_key_that_is_there_twice_is_named_as_a_manifest_has_it(text: str, said: str) -> None:
    with pytest.raises(toml.TomlError) as caught:
        toml.parse(text)
    assert (str(caught.value), caught.value.line) == (said, 2)


def test_integers_have_64_bits() -> None:
    text = "a = [9223372036854775807, -9223372036854775808]"
    assert parse(text) == tomllib.loads(text)


@given(st.text(st.sampled_from("a.\"'\\#=[]{},\n 1"), max_size=60))
def test_it_agrees_with_tomllib(text: str) -> None:
    expected: dict[str, Any] | None
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        expected = None
    try:
        assert parse(text) == expected
    except TomlError:
        assert expected is None


def test_a_file_is_read_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toml, "MOST_BYTES", 1 << 20)
    path = tmp_path / "a.toml"
    path.write_text("a = 1\n#")
    os.truncate(path, 1 << 40)
    with pytest.raises(TomlError, match="larger than 1 MiB"):
        read(path, may_be_pipe=False)


def test_a_pipe_is_read_where_a_user_may_have_named_it(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    os.mkfifo(path)
    with pytest.raises(OSError, match="no regular file"):
        read(path, may_be_pipe=False)
    writer = threading.Thread(target=path.write_bytes, args=(b"\xef\xbb\xbfa = 1",))
    writer.start()
    assert read(path, may_be_pipe=True)[0] == "a = 1"
    writer.join()
