"""One check of one artifact, from what can go wrong while it is made to its JSON."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from bangerbuild.commands.verify.check import Check, CheckResult, judged, told
from bangerbuild.errors import BangerError, FilesystemError

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH, STEP = "vms/web/root.cow", "vm.web.root"


def failed(message: str) -> Check:
    return Check(PATH, STEP, "files", CheckResult.FAILED, message)


def test_without_a_fault_a_check_is_well() -> None:
    assert judged(PATH, STEP, "files", lambda: ()) == (Check(PATH, STEP, "files", CheckResult.OK),)


def test_each_fault_is_a_failure_of_its_own() -> None:
    assert judged(PATH, STEP, "files", lambda: ("a", "b")) == (failed("a"), failed("b"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FilesystemError("'x' is damaged"), "'x' is damaged"),
        (FilesystemError("'x' is damaged", hint="e2fsck x"), "'x' is damaged (e2fsck x)"),
        (OSError(errno.EIO, "Input/output error"), "can't be read: input/output error"),
        (OSError("Strange"), "can't be read: strange"),
    ],
)
def test_what_can_not_be_read_fails_and_keeps_the_faults_before_it(
    error: BangerError | OSError, message: str
) -> None:
    def faults() -> Iterator[str]:
        yield "a"
        raise error

    assert told(error) == message
    assert judged(PATH, STEP, "files", faults) == (failed("a"), failed(message))


def test_a_bug_is_no_fault_of_an_artifact() -> None:
    def faults() -> Iterator[str]:
        yield str(1 // 0)

    with pytest.raises(ZeroDivisionError):
        judged(PATH, STEP, "files", faults)


def test_a_check_as_json_has_all_keys() -> None:
    assert Check(PATH, STEP, "use", CheckResult.IN_USE, "in use by 1").to_json() == {
        "path": PATH,
        "id": STEP,
        "check": "use",
        "result": "in-use",
        "message": "in use by 1",
    }
