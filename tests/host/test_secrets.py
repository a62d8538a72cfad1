"""Secrets are read byte for byte, from three kinds of places; an error says why without saying what."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.host import secrets
from bangerbuild.host.observed import Observations
from bangerbuild.host.secrets import SecretCommand, SecretError, SecretFile, SecretVariable

if TYPE_CHECKING:
    from bangerbuild.host.secrets import SecretOrigin

ODD = b"\xff no text \n"


def command(script: str, directory: Path = Path("/")) -> SecretCommand:
    return SecretCommand((sys.executable, "-c", script), directory)


def refused(origin: SecretOrigin) -> SecretError:
    with pytest.raises(SecretError) as caught:
        origin.read()
    return caught.value


def test_each_kind_is_read_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_bytes(ODD)
    monkeypatch.setitem(os.environb, b"TOKEN", ODD)
    prints = command(f"import sys; sys.stdout.buffer.write({ODD!r})")
    assert SecretVariable("TOKEN").read() == SecretFile(tmp_path / "token", "token").read() == ODD
    assert prints.read() == ODD


def test_what_is_not_there_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    assert refused(SecretVariable("TOKEN")).brief == "the environment variable 'TOKEN' is not set"
    assert refused(SecretFile(tmp_path / "no", "no")).brief == "'no' can't be read: no such file or directory"
    assert refused(SecretFile(tmp_path, ".")).brief == "'.' is no regular file"
    assert (
        refused(SecretCommand(("no-such-program",), tmp_path)).brief == "'no-such-program' is not installed"
    )


def test_an_error_of_a_command_has_what_it_complained_about_and_not_what_it_printed() -> None:
    error = refused(command("import sys; print('sesame'); print('no entry', file=sys.stderr); sys.exit(2)"))
    assert error.brief.endswith("failed with exit code 2: no entry")
    assert "sesame" not in error.brief.split("exit code")[1]


def test_a_command_has_no_input_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("import sys; print(repr(sys.stdin.read()))").read() == b"''\n"
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 0.2)
    assert "did not end within 0.2 s" in refused(command("import time; time.sleep(600)")).brief


def test_a_command_runs_in_its_directory_with_the_users_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_ADDR", "here")
    script = tmp_path / "ask"
    script.write_text('#!/bin/sh\necho "$VAULT_ADDR ${LC_ALL:-none} $(pwd)"\n')
    script.chmod(0o755)
    assert SecretCommand(("./ask",), tmp_path).read() == f"here none {tmp_path}\n".encode()


def test_a_secret_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(bytes(secrets.MOST_BYTES + 1))
    assert refused(SecretFile(tmp_path / "token", "token")).brief == "'token' has more than 1 MiB"
    assert "printed more than 1 MiB" in refused(command("print('a' * (2 << 20))")).brief


def test_what_it_is_told_from_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_bytes(b"a")
    monkeypatch.setenv("TOKEN", "b")
    seen: Observations[int] = Observations(lambda found: found.st_ino)
    with seen.recording():
        SecretFile(tmp_path / "token", "token").read()
        SecretVariable("TOKEN").read()
    assert str(tmp_path / "token") in seen.followed
    assert (seen.variables, seen.is_complete) == ({"TOKEN": b"b"}, True)
    with seen.recording():
        command("print()").read()
    assert not seen.is_complete
