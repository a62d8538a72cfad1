"""One HTTP request, with redirects, and its errors sorted into temporary and permanent ones.

The only module that imports urllib3. Proxies are taken from the environment (`https_proxy`, `no_proxy`),
certificate authorities from where OpenSSL looks (`SSL_CERT_FILE`, `SSL_CERT_DIR`), names and passwords from
the URL or from ~/.netrc.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import ssl
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import urllib3
from urllib3 import exceptions
from urllib3.util import make_headers

from bangerbuild import __version__
from bangerbuild.errors import FetchError
from bangerbuild.fetch.address import parse
from bangerbuild.fetch.watch import Watch
from bangerbuild.identities import shown

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.response import BaseHTTPResponse

REDIRECTS = 10
_NO_ADDRESS = (exceptions.LocationValueError, exceptions.ProxySchemeUnknown)
_REASONS: Mapping[type[exceptions.HTTPError], str] = {
    exceptions.ProxyError: "the proxy does not let it through",
    exceptions.NameResolutionError: "its server's name is not known",
    exceptions.NewConnectionError: "nothing answers where its server should be",
    exceptions.ConnectTimeoutError: "nothing answers where its server should be",
    exceptions.TimeoutError: "its server went silent",
    exceptions.HTTPError: "the connection broke",
}
"""The first entry whose class matches counts."""
_PIECE_BYTES = 1 << 20
_REASON_LENGTH = 100
_AUTHORITY_HINT = "name the file that has its authority: export SSL_CERT_FILE=/path/to/ca.pem"


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a server, and how often to try again."""

    attempts: int = 5
    """Attempts in a row without progress."""
    pause_seconds: float = 1.0
    """Before the second attempt; twice as long before each further one."""
    connect_seconds: float = 30.0
    read_seconds: float = 60.0
    """How long a server may send nothing."""
    longest_pause_seconds: float = 60.0
    """The longest pause, even if the server asks for a longer one."""
    window_seconds: float = 90.0
    """A server that has not sent its headers in that time, or less than `window_bytes`, is broken off."""
    window_bytes: int = 90 << 10
    most_seconds: float = 24 * 3600.0
    """What takes longer in all is broken off; what has come of it is kept for the next run."""


class TransientError(FetchError):
    """A request that may succeed if it is made again."""

    def __init__(self, brief: str, *, details: str | None = None, wait_seconds: float = 0.0) -> None:
        super().__init__(brief, details=details)
        self.wait_seconds = wait_seconds
        """The pause that the server asks for; 0 if it asks for none."""


@dataclass(frozen=True)
class Response:
    """A server's response."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    pieces: Iterator[bytes]
    """The body as it arrives; iterating may raise a TransientError."""


@contextlib.contextmanager
def request(url: str, headers: Mapping[str, str], policy: RetryPolicy) -> Iterator[Response]:
    """Request a URL and follow its redirects.

    Raises:
        FetchError: the request failed; a TransientError if another attempt may succeed.
    """
    asked = url
    for _ in range(REDIRECTS):
        with (
            Watch(policy.window_seconds, policy.window_bytes) as watch,
            _answer(asked, headers, policy, watch) as answer,
        ):
            target = answer.get_redirect_location()
            if not target:
                yield _response(answer, url, watch)
                return
            asked = _redirected(asked, target, url)
    raise FetchError(f"'{shown(url)}' can't be fetched: it redirects more than {REDIRECTS} times")


def _redirected(last: str, target: str, url: str) -> str:
    """The target of a redirect, which is an address; a redirect from https to http is refused."""
    brief = f"'{shown(url)}' can't be fetched: it redirects from '{shown(last)}'"
    try:
        whole = urljoin(last, target)
        scheme = urlsplit(whole).scheme
    except ValueError as err:
        raise FetchError(f"{brief} to what is no address") from err
    if scheme != "https" and (scheme != "http" or urlsplit(last).scheme != "http"):
        raise FetchError(f"{brief} to '{scheme}:'")
    try:
        parse(whole)
    except FetchError as err:
        raise FetchError(f"{brief} to what is no address") from err
    return whole


@contextlib.contextmanager
def _answer(
    url: str, headers: Mapping[str, str], policy: RetryPolicy, watch: Watch
) -> Iterator[BaseHTTPResponse]:
    parts = urlsplit(url)
    with _translated(url, watch), _pool(parts, watch) as pool:
        answer = pool.urlopen(
            "GET",
            parts._replace(netloc=_host(parts), fragment="").geturl(),
            headers={"User-Agent": f"bangerbuild/{__version__}", **_identity(parts), **headers},
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=policy.connect_seconds, read=policy.read_seconds),
        )
        watch.has_begun()
        try:
            yield answer
        finally:
            answer.close()


def _response(answer: BaseHTTPResponse, url: str, watch: Watch) -> Response:
    reason = (answer.reason or "")[:_REASON_LENGTH]
    return Response(answer.status, reason, answer.headers, _pieces(answer, url, watch))


def _pieces(answer: BaseHTTPResponse, url: str, watch: Watch) -> Iterator[bytes]:
    """The body without decoding: a .tar.gz that a server declares as gzip-encoded stays compressed."""
    with _translated(url, watch):
        while piece := answer.read1(_PIECE_BYTES, decode_content=False):
            watch.came(len(piece))
            yield piece
        if watch.has_given_up:  # a body without a length ends where its connection does
            raise exceptions.ProtocolError


def _pool(parts: SplitResult, watch: Watch) -> urllib3.PoolManager:
    """A pool of watched connections to a host, through a proxy if the environment names one."""
    pool = _unwatched_pool(parts)
    pool.pool_classes_by_scheme = {
        scheme: _watched(kind, watch) for scheme, kind in pool.pool_classes_by_scheme.items()
    }
    return pool


def _watched(kind: type[HTTPConnectionPool], watch: Watch) -> type[HTTPConnectionPool]:
    connection: Any = kind.ConnectionCls

    def new(self: Any) -> socket.socket:  # noqa: ANN401  # a connection of either scheme
        return watch.over(connection._new_conn(self))  # noqa: SLF001  # before a proxy or TLS is spoken to

    def respond(*given: Any, **named: Any) -> HTTPResponse:  # noqa: ANN401  # as its class is called
        return watch.reading(HTTPResponse(*given, **named))

    own = type(
        connection.__name__, (connection,), {"_new_conn": new, "response_class": staticmethod(respond)}
    )
    return type(kind.__name__, (kind,), {"ConnectionCls": own})


def _unwatched_pool(parts: SplitResult) -> urllib3.PoolManager:
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is None or urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager()
    asked = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if asked.username is None:
        return urllib3.ProxyManager(asked.geturl())
    secret = f"{unquote(asked.username)}:{unquote(asked.password or '')}"
    return urllib3.ProxyManager(
        asked._replace(netloc=_host(asked)).geturl(), proxy_headers=make_headers(proxy_basic_auth=secret)
    )


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _identity(parts: SplitResult) -> Mapping[str, str]:
    """The header with name and password from the URL or from ~/.netrc; empty if there are none."""
    known = _netrc_identity(parts.hostname or "")
    if parts.username is not None:
        known = (unquote(parts.username), unquote(parts.password or ""))
    return make_headers(basic_auth=":".join(known)) if known else {}


def _netrc_identity(host: str) -> tuple[str, str] | None:
    path = Path(os.environ.get("NETRC") or "~/.netrc")
    try:
        path = path.expanduser()
        known = netrc.netrc(path).hosts.get(host)
    except (FileNotFoundError, RuntimeError):  # the user has no such file, or no home directory
        return None
    except netrc.NetrcParseError as err:  # whose message may quote a password
        raise FetchError(f"'{path}' can't be read, which may know how to log in: line {err.lineno}") from None
    except (OSError, UnicodeDecodeError) as err:
        raise FetchError(f"'{path}' can't be read, which may know how to log in", details=str(err)) from err
    return (known[0], known[2] or "") if known else None


@contextlib.contextmanager
def _translated(url: str, watch: Watch) -> Iterator[None]:
    """Translate urllib3's errors."""
    brief = f"'{shown(url)}' can't be fetched"
    try:
        yield
    except (exceptions.HTTPError, HTTPException) as err:
        if watch.has_given_up:
            raise TransientError(f"{brief}: its server sends next to nothing") from err
        raise _error(brief, err) from err


def _error(brief: str, err: exceptions.HTTPError | HTTPException) -> FetchError:
    if isinstance(err, exceptions.SSLError) and _is_untrusted(err):
        why = "its server's certificate is not trusted"
        return FetchError(f"{brief}: {why}", details=str(err), hint=_AUTHORITY_HINT)
    if isinstance(err, _NO_ADDRESS):
        return FetchError(f"{brief}: there is no such address", details=str(err))
    why = next((why for kind, why in _REASONS.items() if isinstance(err, kind)), "the connection broke")
    return TransientError(f"{brief}: {why}", details=str(err))


def _is_untrusted(err: exceptions.SSLError) -> bool:
    return bool(err.args) and isinstance(err.args[0], ssl.SSLCertVerificationError)
