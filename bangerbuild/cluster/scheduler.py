"""The transport over Dask distributed. The only module that imports it.

What is asked of a node is a task of one function of this package, `answer`, with bytes as its argument, and
its value is bytes: there are no pickles but Dask's own of that. A task is submitted to a worker's address,
never to its name: Dask takes a name for the address that it has at that moment, and a task for a worker
that is gone waits for ever. So the topic of each address is watched, on which the scheduler says that it
removed the worker.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from distributed import Client, Future, Security, get_worker
from typing_extensions import override

from bangerbuild.cluster import documents, worker
from bangerbuild.cluster.documents import DocumentError
from bangerbuild.cluster.transport import Answered, Arrival, Lost, Said, Transport
from bangerbuild.errors import ClusterError
from bangerbuild.host import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CONNECT_SECONDS = 10.0
START_SECONDS = 60.0
"""How long schedulers and workers of this machine have to start."""
CANCEL_SECONDS = 5.0
CHECK_SECONDS = 10.0
"""How often the scheduler is asked which workers it has, beside what it says by itself."""
POLL_SECONDS = 0.1
MOST_SAID_BYTES = 1 << 30
"""Of what a node says at once: the plan of its share is one line."""
WORKER_OPTIONS = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0")
"""One share at a time, in a process that is the worker itself, and nothing is ever spilled to a disk."""
TOPIC = "bangerbuild"
"""On which nodes say what they do; one for all runs, as the scheduler keeps topics."""
_PACKAGE = "bangerbuild"
_VARIABLE = "DASK_DISTRIBUTED__COMM__TLS__"
_CERTIFICATES_HINT = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE and its kin name the certificates: docs/nodes.md"


def answer(question: bytes, run: str) -> bytes:
    """What a worker does when it is asked."""
    own = get_worker()
    node = str(own.name)

    def said(lines: bytes) -> None:
        own.log_event(TOPIC, {"run": run, "node": node, "lines": documents.zipped(lines)})

    return worker.answer(node, question, said)


def cancel(run: str) -> None:
    """What a worker does when a run is interrupted."""
    worker.cancel(run)


@contextmanager
def connected(address: str, run: str, security: Security | None = None) -> Iterator[Transport]:
    """The transport to the workers of a scheduler.

    Args:
        address: of the scheduler, `tls://HOST:PORT`.
        run: names the run.
        security: None: as Dask's configuration has it.

    Raises:
        ClusterError: nobody answers there, or not as one of the same CA.
    """
    with _quiet():
        client = _client(address, security or _configured(address))
        transport = DaskTransport(client, address, run)
        try:
            yield transport
        finally:
            transport.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library logs off the terminal: what counts of it is said by this program."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _configured(address: str) -> Security:
    """The certificates that Dask's configuration names; without them there is no encryption.

    Raises:
        ClusterError: it names none.
    """
    found = Security(require_encryption=True)
    missing = [
        name for name in ("tls_ca_file", "tls_client_cert", "tls_client_key") if not getattr(found, name)
    ]
    if missing:
        raise ClusterError(f"--cluster {address}: no certificates are configured", hint=_CERTIFICATES_HINT)
    return found


def _client(address: str, security: Security) -> Client:
    try:
        return Client(
            address,
            security=security,
            set_as_default=False,
            direct_to_workers=False,
            timeout=CONNECT_SECONDS,
        )
    except (OSError, TimeoutError, ValueError, TypeError) as err:
        raise ClusterError(
            f"the scheduler at {address} does not answer", details=_causes(err), hint=_CERTIFICATES_HINT
        ) from err


def _causes(err: BaseException | None) -> str:
    """What an error came of: the last tells whether nobody is there or a certificate is refused."""
    said: dict[str, None] = {}
    while err is not None:
        said[f"{type(err).__name__}: {err}".splitlines()[0]] = None
        err = err.__cause__ or err.__context__
    return "\n".join(said)


class DaskTransport(Transport):
    """See `Transport`.

    Args:
        client: which is closed with the transport.
        address: of the scheduler, for messages.
        run: names the run.
    """

    def __init__(self, client: Client, address: str, run: str) -> None:
        self._client = client
        self._address = address
        self._run = run
        self._arrived: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._addresses: dict[str, str] = {}
        self._asked: dict[str, Future[bytes]] = {}
        self._given_up: queue.SimpleQueue[Future[bytes]] = queue.SimpleQueue()
        """Tasks that nobody waits for any more: the client's own thread must not cancel them."""
        self._count = 0
        self._checked = time.monotonic()
        client.subscribe_topic(TOPIC, self._heard)

    @override
    def workers(self) -> Mapping[str, str | None]:
        try:
            found = self._client.scheduler_info(n_workers=-1)["workers"]
            versions = cast("Any", self._client.get_versions(packages=[_PACKAGE]))["workers"]
        except (OSError, TimeoutError) as err:
            raise self._gone() from err
        self._addresses = {str(one["name"]): address for address, one in found.items()}
        doubled = len(found) - len(self._addresses)
        if doubled:
            raise ClusterError(
                "two workers have the same name", hint="each is called as its [node] is: --name NAME"
            )
        return {
            name: ((versions.get(address) or {}).get("packages") or {}).get(_PACKAGE)
            for name, address in self._addresses.items()
        }

    @override
    def ask(self, node: str, question: bytes) -> None:
        address = self._addresses[node]
        if node not in self._asked:
            self._client.subscribe_topic(address, partial(self._watched, node))
        self._count += 1
        future = self._client.submit(
            answer,
            question,
            self._run,
            key=f"{TOPIC}-{self._run}-{node}-{self._count}",
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        self._asked[node] = future
        future.add_done_callback(partial(self._done, node))

    @override
    def arrival(self, timeout_seconds: float) -> Arrival | None:
        with contextlib.suppress(queue.Empty):
            return self._arrived.get(timeout=timeout_seconds)
        if self._client.status != "running":
            for node in tuple(self._asked):
                self._lose(node, self._gone())
        elif time.monotonic() - self._checked > CHECK_SECONDS:
            self._checked = time.monotonic()
            self._check()
        while not self._given_up.empty():
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                self._given_up.get().cancel(force=True)
        return None

    def _check(self) -> None:
        """Lose the nodes whose workers left unseen, such as before their topic was watched."""
        with contextlib.suppress(OSError, TimeoutError):
            there = self._client.scheduler_info(n_workers=-1)["workers"]
            for node in tuple(self._asked):
                if self._addresses[node] not in there:
                    self._lose(node, _gone_worker(node))

    @override
    def cancel(self) -> None:
        nodes = [self._addresses[node] for node in self._asked]
        if not nodes or self._client.status != "running":
            return
        self._client.run(cancel, self._run, workers=nodes, wait=False, on_error="ignore")
        deadline = time.monotonic() + CANCEL_SECONDS
        while self._asked and time.monotonic() < deadline:
            self.arrival(0.1)

    @override
    def close(self) -> None:
        self._asked.clear()
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._client.close(timeout=CANCEL_SECONDS)

    def _heard(self, event: tuple[float, Any]) -> None:
        """An event of any run's nodes. Called by the client's thread."""
        message = event[1]
        if isinstance(message, dict) and message.get("run") == self._run:
            node, lines = message.get("node"), message.get("lines")
            if isinstance(node, str) and isinstance(lines, bytes):
                self._arrived.put(self._said(node, lines))

    @staticmethod
    def _said(node: str, lines: bytes) -> Arrival:
        try:
            return Said(node, documents.unzipped(lines, MOST_SAID_BYTES))
        except DocumentError as err:
            return Lost(node, err)

    def _watched(self, node: str, event: tuple[float, Any]) -> None:
        """An event about a worker."""
        message = event[1]
        if isinstance(message, dict) and message.get("action") == "remove-worker":
            self._lose(node, _gone_worker(node))

    def _done(self, node: str, future: Future[bytes]) -> None:
        """A task ended. Called by a thread of the client's."""
        if self._asked.get(node) is not future:
            return
        if future.status != "finished":
            is_cut_off = self._client.status != "running"
            self._lose(node, self._gone() if is_cut_off else _gone_worker(node))
            return
        try:
            message = future.result(timeout=CONNECT_SECONDS)
        except (OSError, TimeoutError, RuntimeError) as err:
            self._lose(node, ClusterError(f"the answer of node '{node}' is lost: {_causes(err)}"))
            return
        self._asked.pop(node, None)
        future.release()
        self._arrived.put(Answered(node, message))

    def _lose(self, node: str, why: ClusterError) -> None:
        future = self._asked.pop(node, None)
        if future is not None:
            self._given_up.put(future)
            self._arrived.put(Lost(node, why))

    def _gone(self) -> ClusterError:
        return ClusterError(f"the scheduler at {self._address} is gone: {_WAY_OUT}")


def _gone_worker(node: str) -> ClusterError:
    return ClusterError(f"the worker of node '{node}' is gone: {_WAY_OUT}")


_WAY_OUT = "what it had published stays, and another run does the rest"


@contextmanager
def on_this_machine(names: Sequence[str], directory: Path, run: str) -> Iterator[Transport]:
    """A scheduler and workers on this machine, with certificates of their own, until it is left.

    Args:
        names: of the workers.
        directory: where they are started.
        run: names the run.

    Raises:
        ClusterError: they don't start.
    """
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bangerbuild-cluster-")))
        programs = _Programs(directory, place, os.environ | _certificates(place))
        stack.callback(programs.end)
        listening = place / "scheduler.json"
        listen = ("--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        programs.start("scheduler", *listen, "--scheduler-file", str(listening))
        programs.wait_for(listening.exists)
        for name in names:
            where = ("--scheduler-file", str(listening), "--local-directory", str(place / name))
            programs.start("worker", *where, "--name", name, *WORKER_OPTIONS, "--no-dashboard")
        security = Security(
            require_encryption=True,
            tls_ca_file=str(place / "certificate.pem"),
            tls_client_cert=str(place / "certificate.pem"),
            tls_client_key=str(place / "key.pem"),
        )
        address = json.loads(listening.read_text())["address"]
        with connected(address, run, security) as transport:
            programs.wait_for(lambda: len(transport.workers()) == len(names))
            yield transport


def _certificates(place: Path) -> dict[str, str]:
    """Make a certificate that is its own CA; the variables by which programs find it."""
    made = Security.temporary()
    for name, text in (("certificate", made.tls_ca_file), ("key", made.tls_client_key)):
        fd = os.open(place / f"{name}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w") as file:  # noqa: PTH123  # a descriptor is no Path
            file.write(text)
    certificate, key = str(place / "certificate.pem"), str(place / "key.pem")
    return {
        f"{_VARIABLE}CA_FILE": certificate,
        **{f"{_VARIABLE}{who}__CERT": certificate for who in ("SCHEDULER", "WORKER")},
        **{f"{_VARIABLE}{who}__KEY": key for who in ("SCHEDULER", "WORKER")},
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
    }


class _Programs:
    """The scheduler and the workers of a cluster on this machine.

    Args:
        directory: where they are started.
        place: where they write what they say.
        environment: theirs.
    """

    def __init__(self, directory: Path, place: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._place = place
        self._environment = environment
        self._started: list[process.Servant] = []

    def start(self, what: str, *options: str) -> None:
        """Start one of Dask's programs."""
        argv = (sys.executable, "-m", f"distributed.cli.dask_{what}", *options)
        command = process.Command(argv, directory=str(self._directory), label=f"dask {what}")
        log = self._place / f"{len(self._started)}.log"
        self._started.append(process.Servant(command, self._environment, log))

    def wait_for(self, is_there: Callable[[], bool]) -> None:
        """Wait until something is there.

        Raises:
            ClusterError: one of the programs has ended, or it takes too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while not is_there():
            ended = [one for one in self._started if not one.is_running]
            if ended or time.monotonic() > deadline:
                said = (ended or self._started)[0].said()
                raise ClusterError("the cluster on this machine did not start", details=said)
            time.sleep(POLL_SECONDS)

    def end(self) -> None:
        """End them all."""
        for one in self._started:
            one.end()
