"""Fixtures for every test: a clean environment, the host's tools, the command line as a user starts it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

import pytest

from tests import (
    forking,
    properties,  # noqa: F401 - its profile applies to every test
)
from tests.need import need

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path


FOREIGN_VARIABLES = (
    "SOURCE_DATE_EPOCH",
    "MKE2FS_CONFIG",
    "E2FSPROGS_FAKE_TIME",
    "E2FSCK_TIME",
    "FORCE_COLOR",
    "MAKEFLAGS",
    "MAKELEVEL",
    "XDG_CACHE_HOME",
)
"""What would change the bytes or the colours of what is made, if the user's shell had it set."""


class CommandLine(Protocol):
    """Runs `bangerbuild ARGUMENTS…` in a directory and hands back its exit code and both streams."""

    def __call__(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the user's: an empty home directory, none of the variables that shape what is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("NO_COLOR", "1")
        for name in FOREIGN_VARIABLES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts what runs in its background without SIGINT, nohup without SIGHUP, and all under them."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: lambda *_: None,
    }  # a program starts with neither
    for number, handler in handlers.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program of the host; the test is skipped, in CI failed, where it is missing."""
    return need


@pytest.fixture(scope="session")
def cli() -> CommandLine:
    """The command line in a process of its own, as a user starts it."""

    def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        return forking.run(arguments, cwd=cwd).as_text()

    return run
