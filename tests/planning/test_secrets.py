"""The secrets of a run: each is read once, and all that can't be read are told at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bangerbuild.errors import ManifestError
from bangerbuild.host.secrets import SecretError
from bangerbuild.model import Secret
from bangerbuild.planning.secrets import Secrets

KEY = bytes(32)


@dataclass(frozen=True)
class Counted:
    """Says how often it was read."""

    name: str
    error: str = ""
    reads: list[str] = field(default_factory=list, compare=False)

    @property
    def written(self) -> str:
        return self.name

    def read(self) -> bytes:
        self.reads.append(self.name)
        if self.error:
            raise SecretError(self.error, hint="set it")
        return self.name.encode()


def wanted(origin: Counted, line: int = 1) -> Secret:
    return Secret(origin, "vm.toml", line, f"vm.web.file[{line}].content")


def test_a_secret_of_several_files_is_read_once() -> None:
    origin = Counted("a")
    found = Secrets(KEY, [wanted(origin, 1), wanted(origin, 2), wanted(Counted("b"))])
    assert origin.reads == ["a"]
    assert found.revealed(wanted(origin, 3)).content == b"a"


def test_digests_differ_by_content_and_key_and_from_the_salt() -> None:
    secrets = [wanted(Counted("a")), wanted(Counted("b"))]
    found, others = Secrets(KEY, secrets), Secrets(bytes([1] * 32), secrets)
    digests = {one.digest(secret) for one in (found, others) for secret in secrets}
    assert len(digests) == 4
    assert not digests & {f"keyed:{found.revealed(secret).salt}" for secret in secrets}


def test_all_that_can_not_be_read_is_told_with_its_place() -> None:
    bad = Counted("a", "no a")
    with pytest.raises(ManifestError) as caught:
        Secrets(KEY, [wanted(bad, 4), wanted(Counted("b")), wanted(bad, 2), wanted(Counted("c", "no c"), 3)])
    told = [(problem.line, problem.message, problem.hint) for problem in caught.value.problems]
    assert told == [(2, "no a", "set it"), (3, "no c", "set it"), (4, "no a", "set it")]
    assert bad.reads == ["a"]


def test_a_secret_is_not_in_its_repr() -> None:
    assert "sesame" not in repr(Secrets(KEY, [secret := wanted(Counted("sesame"))]).revealed(secret))
