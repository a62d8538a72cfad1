"""Does one share, in a process of its own: `python -m bangerbuild.cluster.child`.

Its input is the share, with its length in 8 bytes before it. It prints events. When its input ends it stops
as if interrupted: then the worker that started it was told to end it, or is gone itself.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from typing_extensions import override

from bangerbuild import __version__, pipeline
from bangerbuild.cluster import events
from bangerbuild.cluster.events import SentError
from bangerbuild.cluster.kept_files import KeptFiles
from bangerbuild.cluster.share import unpacked
from bangerbuild.commands import push
from bangerbuild.commands import status as statuses
from bangerbuild.commands import verify as verification
from bangerbuild.errors import BangerError, ClusterError
from bangerbuild.leases import FILE_NAME
from bangerbuild.model import Outcome, PlanReporter, StepId, Verb
from bangerbuild.model.request import Request, RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bangerbuild.cluster.events import Event
    from bangerbuild.cluster.share import Share, ShareOptions
    from bangerbuild.commands.push import PushedArtifact
    from bangerbuild.commands.verify.check import Check
    from bangerbuild.model import Action, Plan, Result
    from bangerbuild.pipeline import Applied, Loaded

ALIVE_SECONDS = 5.0
"""How often a share says something, whatever it does."""
PROGRESS_SECONDS = 0.5
"""How often it says how far one thing is."""


class Teller:
    """Prints events, for any thread."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._turn = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Print one. Where nobody listens any more, the process is about to be ended."""
        line = events.line(event)
        with self._turn:
            try:
                self._out.write(line)
                self._out.flush()
            except OSError:
                os._exit(1)


class EventReporter(PlanReporter):
    """A reporter that prints events."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._told: dict[str, float] = {}

    @override
    def planned(self, plan: Plan) -> None:
        self._tell(events.Planned.of(plan))

    @override
    def started(self, action: Action) -> None:
        self._tell(events.Started(action.id))

    @override
    def finished(self, action: Action, result: Result) -> None:
        error = SentError.of(result.error) if result.error else None
        self._tell(events.Finished(action.id, result.outcome.value, round(result.seconds, 3), error))

    @override
    def warned(self, step_id: str, message: str) -> None:
        self._tell(events.Warned(step_id, message))

    @override
    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        now = time.monotonic()
        if done_bytes == total_bytes or now - self._told.get(what, 0.0) >= PROGRESS_SECONDS:
            self._told[what] = now
            self._tell(events.Progressed(what, done_bytes, total_bytes))

    def said(self, what: str, line: str) -> None:
        """A line of a builder."""
        self._tell(events.Printed(what, line))


def work(share: Share, directory: Path, tell: Callable[[Event], None]) -> None:
    """Do a share.

    Args:
        share: what is to be done.
        directory: an empty one, for the lock file.
        tell: is told what happens.

    Raises:
        BangerError: it can't be done.
    """
    if share.version != __version__:
        brief = f"this node has bangerbuild {__version__}, and the share is from {share.version}"
        raise ClusterError(brief, hint="install the same version on all of them")
    (directory / FILE_NAME).write_text(share.lock)
    loaded = _loaded(share, directory)
    _WORK[share.options.work](loaded, share.options, tell)


def _loaded(share: Share, directory: Path) -> Loaded:
    here, options = Path.cwd(), share.options
    store = here / share.store
    origins = {name: here / origin for name, origin in share.manifest.origins.items()}
    found = replace(share.manifest, store=store, files=(directory / "vm.toml",), origins=origins)
    request = Request(
        tuple(here / name for name in share.manifests),
        store,
        targets=options.targets if options.work in {"plan", "apply"} else (),
        replace=options.replace,
        offline=options.offline,
        locked=True,
        node=share.node,
    )
    return pipeline.load_value(request, found)


def _plan(loaded: Loaded, options: ShareOptions, tell: Callable[[Event], None]) -> None:
    made = pipeline.plan(loaded, previews=options.previews, progress=EventReporter(tell).progressed)
    tell(events.Planned.of(made))


def _apply(loaded: Loaded, options: ShareOptions, tell: Callable[[Event], None]) -> None:
    applied = pipeline.apply(loaded, options=_run_options(options), reporter=EventReporter(tell))
    if options.pushes:
        _push(loaded, applied, tell)


def _push(loaded: Loaded, applied: Applied, tell: Callable[[Event], None]) -> None:
    """Push the images that are built; a registry that fails is warned of."""
    undone = {
        StepId(action.id).owner
        for action, result in zip(applied.plan.actions, applied.results, strict=True)
        if action.verb is not Verb.KEEP and result.outcome is not Outcome.DONE
    }
    there = {StepId(action.id).owner for action in applied.plan.actions}
    names = [name for name in loaded.manifest.images if StepId(f"image.{name}") in there - undone]
    done: list[PushedArtifact] = []
    try:
        if names:
            push.push(loaded, names, done.append)
    except BangerError as err:
        tell(events.Warned("", f"not pushed: {err.brief}"))
    lock = (loaded.manifest.files[0].parent / FILE_NAME).read_text()
    tell(events.Locked(lock, tuple(one.to_json() for one in done)))


def _status(loaded: Loaded, options: ShareOptions, tell: Callable[[Event], None]) -> None:
    found = statuses.look_at(loaded, options.targets, lambda text: tell(events.Warned("", text)))
    tell(events.Listed(tuple(one.to_json() for one in found.artifacts), str(found.store)))


def _verify(loaded: Loaded, options: ShareOptions, tell: Callable[[Event], None]) -> None:
    def listed(checks: Sequence[Check]) -> None:
        tell(events.Listed(tuple(one.to_json() for one in checks), str(loaded.store)))

    verification.verify_loaded(loaded, options.targets, _run_options(options), listed, again=options.rebuilds)


_WORK: Mapping[str, Callable[[Loaded, ShareOptions, Callable[[Event], None]], None]] = {
    "plan": _plan,
    "apply": _apply,
    "status": _status,
    "verify": _verify,
}


def _run_options(options: ShareOptions) -> RunOptions:
    usual = RunOptions(
        keep_going=options.keep_going, lock_seconds=options.lock_seconds, previews=options.previews
    )
    return usual if options.jobs is None else replace(usual, jobs=options.jobs)


def main() -> NoReturn:
    """Read the share, do it, and exit."""
    signal.signal(signal.SIGTERM, _interrupt)
    tell = Teller(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what else is printed is a complaint
    source = sys.stdin.buffer
    message = source.read(int.from_bytes(source.read(8), "big"))
    threading.Thread(target=_watch, args=(source,), daemon=True).start()
    threading.Thread(target=_live, args=(tell,), daemon=True).start()
    error = None
    try:
        error = done(message, tell)
    except KeyboardInterrupt:
        error = SentError("interrupted", exit_code=130)
    tell(events.Ended(error))
    os._exit(0)


def done(message: bytes, tell: Callable[[Event], None]) -> SentError | None:
    """Do the share of a message; why it could not be done, if so."""
    try:
        share = unpacked(message, KeptFiles("0").path_of)
        os.environ.pop("SOURCE_DATE_EPOCH", None)
        if share.options.epoch is not None:
            os.environ["SOURCE_DATE_EPOCH"] = str(share.options.epoch)
        with tempfile.TemporaryDirectory(prefix="bangerbuild-") as directory:
            work(share, Path(directory), tell)
    except BangerError as err:
        return SentError.of(err)
    return None


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _watch(source: BinaryIO) -> None:
    """Interrupt the process once its input ends."""
    source.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _live(tell: Callable[[Event], None]) -> None:
    while True:
        time.sleep(ALIVE_SECONDS)
        tell(events.Alive())


if __name__ == "__main__":
    main()
