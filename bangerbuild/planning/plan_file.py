"""Files that hold a saved plan: written whole, for their owner alone, and told from manifests by content."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import durable
from bangerbuild.errors import BangerError, UsageError
from bangerbuild.planning import saved
from bangerbuild.planning.saved import SavedPlan, SavedPlanError

if TYPE_CHECKING:
    from bangerbuild.model.request import Request

MOST_BYTES = 1 << 30
"""A file that is larger is read no further, and so is damaged."""
_BEGINNING = 64
_MODE = 0o600


def is_one(path: Path) -> bool:
    """Whether a file is no manifest but JSON, as a saved plan is; a pipe is never looked into."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(_BEGINNING).lstrip()[:1] == b"{"
    except OSError:  # whoever reads it as a manifest says so
        return False


def read(path: Path) -> SavedPlan:
    """The plan in a file.

    Raises:
        UsageError: it can't be read, or is none that can be used.
    """
    try:
        with path.open("rb") as file:
            return saved.parsed(file.read(MOST_BYTES).decode())
    except OSError as err:
        raise UsageError(f"can't read the plan '{path}': {_reason(err)}") from err
    except UnicodeDecodeError as err:
        raise UsageError(f"'{path}' can't be applied: it is damaged", hint=_hint(path)) from err
    except SavedPlanError as err:
        raise UsageError(f"'{path}' can't be applied: {err}", hint=_hint(path)) from err


def write(path: Path, plan: SavedPlan) -> None:
    """Write a plan into a file, in place of an older plan there.

    Raises:
        BangerError: it can't be written.
    """
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(plan.text())
                file.flush()
                os.fsync(file.fileno())
            draft.rename(target)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        durable.sync_name(target)
    except OSError as err:
        raise BangerError(f"can't write the plan '{path}': {_reason(err)}") from err


def refuse_to_overwrite(path: Path) -> None:
    """See that nothing but an older plan is in the place of a new one.

    Raises:
        UsageError: something else is there.
    """
    try:
        status = path.stat()
    except OSError:  # it is not there, or writing will tell
        return
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"'{path}' is no file that a plan can be written to", hint="--out plan.json")
    if status.st_size and not is_one(path):
        raise UsageError(f"'{path}' is there, and no saved plan", hint="remove it, or name another file")


def request_of(plan: SavedPlan, here: Path) -> tuple[Request, Path]:
    """What a saved plan asks for, and the directory that this is about.

    Paths count from where they were typed, as long as the manifests are there; in a copy of the project, such
    as the next job of a pipeline has, from here.
    """
    request, at = plan.request, plan.directory
    if at == here or not all((at / path).exists() for path in request.manifests):
        return request, here
    return (
        replace(
            request,
            manifests=tuple(at / path for path in request.manifests),
            store=request.store and at / request.store,
            variable_files=tuple(at / path for path in request.variable_files),
        ),
        at,
    )


def shown_store(store: Path, directory: Path) -> str:
    """A store's directory as it counts: relative, where the whole project may lie elsewhere."""
    return str(store.relative_to(directory)) if store.is_relative_to(directory) else str(store)


def _hint(path: Path) -> str:
    return f"make it again: bangerbuild plan --out {path}"


def _reason(err: OSError) -> str:
    return (err.strerror or str(err)).lower()
