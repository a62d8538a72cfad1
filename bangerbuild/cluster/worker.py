"""What a worker answers on its node.

A question is a line of JSON that says what is asked, and bytes behind it:

    lacking     which of these objects are not here
    offer       make an object of this listing; answers with the contents that are missing
    take        a piece of a content
    run         do a share, in a process of its own
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bangerbuild.cluster import documents
from bangerbuild.cluster.documents import NOTHING_LOCAL, DocumentError
from bangerbuild.cluster.events import SentError
from bangerbuild.cluster.kept_files import KeptFiles
from bangerbuild.errors import BangerError, ClusterError
from bangerbuild.host import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bangerbuild.model import Json

GATHER_SECONDS = 0.2
"""What a share says is sent as often."""
GATHER_BYTES = 64 << 10
_RUNNING: dict[str, process.Conversation] = {}
"""The shares that this worker does, by their runs."""
_CANCELLED: set[str] = set()
_TURN = threading.Lock()


@dataclass(frozen=True)
class Lacking:
    """Which of these objects the node lacks."""

    run: str
    objects: tuple[str, ...]


@dataclass(frozen=True)
class Offer:
    """An object, whose listing is the body."""

    run: str


@dataclass(frozen=True)
class Take:
    """A piece of a content, which is the body."""

    run: str
    digest: str
    offset: int
    size_bytes: int
    is_last: bool = False


@dataclass(frozen=True)
class Run:
    """A share, which is the body."""

    run: str
    node: str


Question: TypeAlias = Lacking | Offer | Take | Run
QUESTIONS: Mapping[str, type[Question]] = {kind.__name__: kind for kind in (Lacking, Offer, Take, Run)}


def asked(question: Question, body: bytes = b"") -> bytes:
    """A question as a message."""
    return json.dumps(documents.named(question)).encode() + b"\n" + body


def answer(node: str, message: bytes, said: Callable[[bytes], None]) -> bytes:
    """The answer to a question: a document with `answer`, or with `error`.

    It never raises: the library would write the arguments, in which secrets may be, to the worker's log.

    Args:
        node: the name of this worker.
        message: the question.
        said: is told what a share says.
    """
    try:
        found = _answered(node, message, said)
    except BangerError as err:
        return documents.written({"error": documents.encoded(SentError.of(err), NOTHING_LOCAL)})
    except Exception:  # noqa: BLE001  # see above
        sent = SentError("the worker has a bug", traceback.format_exc())
        return documents.written({"error": documents.encoded(sent, NOTHING_LOCAL)})
    return documents.written({"answer": found})


def answer_of(message: bytes) -> Json:
    """What a node answered.

    Raises:
        NodeError: it answered with an error.
        DocumentError: it is no answer.
    """
    document = documents.parsed(message, 1 << 30)
    if "error" in document:
        raise documents.decoded(SentError, document["error"], NOTHING_LOCAL, "error").error()
    return document.get("answer")


def cancel(run: str) -> None:
    """End what this worker does for a run, now or when it is asked next."""
    with _TURN:
        _CANCELLED.add(run)
        if run in _RUNNING:
            _RUNNING[run].hang_up()


def _answered(node: str, message: bytes, said: Callable[[bytes], None]) -> Json:
    head, _, body = message.partition(b"\n")
    try:
        document = json.loads(head)
    except ValueError as err:
        raise DocumentError("a question is no JSON") from err
    question = documents.decoded_as_one_of(QUESTIONS, document, NOTHING_LOCAL, "question")
    kept = KeptFiles(question.run)
    if isinstance(question, Lacking):
        return list(kept.lacking(question.objects))
    if isinstance(question, Offer):
        return list(kept.offer(body))
    if isinstance(question, Take):
        kept.take(
            question.digest, question.offset, body, size_bytes=question.size_bytes, is_last=question.is_last
        )
        return None
    if question.node != node:
        raise ClusterError(f"the share of node '{question.node}' came to '{node}'")
    try:
        return _run(question.run, body, said)
    finally:
        kept.clean()


def _run(run: str, share: bytes, said: Callable[[bytes], None]) -> Json:
    """Do a share in a child process: it can be interrupted, and what ends it does not end the worker."""
    command = process.Command((sys.executable, "-m", "bangerbuild.cluster.child"))
    with _TURN:
        if run in _CANCELLED:
            raise ClusterError("the run was interrupted")
        child = process.Conversation(command, os.environ, said)
        _RUNNING[run] = child
    try:
        child.give(len(share).to_bytes(8, "big") + share)
        code, complaints = child.listen(GATHER_SECONDS, GATHER_BYTES)
    finally:
        with _TURN:
            del _RUNNING[run]
    if code:
        raise ClusterError(f"the share ended with code {code}", details=complaints or None)
    return None
