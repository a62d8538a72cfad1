"""SSH public keys: literal ones, and those in files. A private key is refused and never shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bangerbuild.manifest.problems import InvalidValueError, quoted
from bangerbuild.manifest.values import existing, host_path

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.model import HostPath

_MAX_FILE_BYTES = 1 << 20
_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File")
_OPTION = r'[A-Za-z0-9-]+(?:="(?:[^"\\]|\\.)*")?'
_PUBLIC = re.compile(  # a line of authorized_keys, as sshd(8) describes it; a key's first bytes are zeros
    rf"(?:{_OPTION}(?:,{_OPTION})*[ \t]+)?"
    r"(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+[ \t]+AAAA[A-Za-z0-9+/]+={0,3}(?:[ \t][^\0\r\n]*)?"
)


def public_keys(text: str, directory: Path) -> tuple[str, ...]:
    """The public keys that one entry of `ssh_authorized_keys` stands for, one line each.

    Args:
        text: a literal key, or the path of a file of keys; blank lines and comments in it are dropped.
        directory: what a relative path starts from.

    Raises:
        InvalidValueError: it is neither; or it is, or names, a private key.
    """
    literal = text.strip()
    if _PRIVATE.search(literal):
        raise InvalidValueError(
            "this is a private key, and the guest must never have it", "give the public one"
        )
    if _PUBLIC.fullmatch(literal):
        return (literal,)
    if "\n" in literal:
        raise InvalidValueError("a literal key is one line", "give each key an entry of its own")
    if (
        "\0" in literal
        or not literal
        or (len(literal.split()) > 1 and literal.startswith(("ssh-", "ecdsa-", "sk-")))
    ):
        raise InvalidValueError(
            f"{quoted(text)} is no public key", 'one looks like "ssh-ed25519 AAAA… you@host"'
        )
    return _keys_in_file(existing(host_path(text, directory), "file"))


def _keys_in_file(path: HostPath) -> tuple[str, ...]:
    written = path.written
    try:
        with path.path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode()
    except OSError as err:
        raise InvalidValueError(
            f"{quoted(written)} can't be read: {(err.strerror or str(err)).lower()}"
        ) from err
    except UnicodeDecodeError as err:
        raise InvalidValueError(f"{quoted(written)} holds no public key: it is not text") from err
    if _PRIVATE.search(text):
        raise InvalidValueError(
            f"{quoted(written)} is a private key, and the guest must never have it", _public_twin(written)
        )
    return _checked(text.split("\n"), written)


def _checked(lines: list[str], written: str) -> tuple[str, ...]:
    keys = []
    for number, line in enumerate(lines, start=1):
        key = line.strip()
        if key and not key.startswith("#"):
            if not _PUBLIC.fullmatch(key):
                raise InvalidValueError(
                    f"line {number} of {quoted(written)} is no public key", _public_twin(written)
                )
            keys.append(key)
    if not keys:
        raise InvalidValueError(f"{quoted(written)} holds no public key")
    return tuple(keys)


def _public_twin(written: str) -> str | None:
    if written.endswith(".ppk"):
        return "export the public key with PuTTYgen"
    return None if written.endswith(".pub") else f"use {written}.pub"
