"""Requests: over TLS, through proxies, with names and passwords, along redirects."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FetchError
from bangerbuild.fetch.cache import Cache
from bangerbuild.fetch.connection import RetryPolicy
from bangerbuild.fetch.download import download
from tests.fetch.fetching import DATA, assert_is, fetch, refusal
from tests.fetch.server import (
    file,
    redirect,
    running,
    silence,
    status,
)
from tests.need import need
from tests.ports import reserved_port

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.fetch.cache import Cache
    from tests.fetch.server import Server


def test_a_server_that_goes_silent_is_given_up(web: Server, cache: Cache) -> None:
    done = threading.Event()
    url = web.says(silence(done))
    try:
        with pytest.raises(FetchError, match="its server went silent"):
            fetch(url, cache, policy=RetryPolicy(attempts=2, pause_seconds=0.001, read_seconds=0.1))
    finally:
        done.set()


def test_a_server_that_is_not_there_is_given_up(cache: Cache) -> None:
    with (
        reserved_port() as port,
        pytest.raises(FetchError, match="nothing answers where its server should be"),
    ):
        fetch(f"http://127.0.0.1:{port}/file", cache)


def test_a_name_that_nobody_knows_is_given_up(cache: Cache) -> None:
    with pytest.raises(
        FetchError, match=r"'http://nowhere\.invalid/file' can't be fetched: its server's name"
    ):
        fetch("http://nowhere.invalid/file", cache)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(web: Server, cache: Cache, code: int) -> None:
    web.says(redirect("third?a=b", code), path="/some/second")
    web.says(file(DATA), path="/some/third?a=b")
    assert_is(fetch(web.says(redirect(web.url("/some/second"), code)), cache), DATA, cache)


def test_a_cut_behind_a_redirect_is_gone_on_with(web: Server, cache: Cache) -> None:
    web.says(file(DATA, cut=400_000), path="/mirror")
    assert_is(fetch(web.says(redirect("/mirror")), cache), DATA, cache)


def test_redirects_in_a_circle_end(web: Server, cache: Cache) -> None:
    assert "redirects more than 10 times" in refusal(web.says(redirect("/file")), cache).brief


@pytest.mark.parametrize(
    "target",
    [
        "http://[::1/x",
        "http://h:99999/",
        "http://h:x/",
        "//[",
        "https://me:pa/ss@host/",
        "http://:1/",
    ],
)
def test_a_redirect_to_what_is_no_address_is_told(web: Server, cache: Cache, target: str) -> None:
    error = refusal(web.says(redirect(target)), cache)
    assert error.brief.endswith("to what is no address")
    assert "pa/ss" not in error.brief


@pytest.mark.parametrize("host", ["a" * 300, ".", "a..b", "xn--\u00fc", "a b"])
def test_a_redirect_to_no_name_is_told(web: Server, cache: Cache, host: str) -> None:
    assert "can't be fetched" in refusal(web.says(redirect(f"http://{host}/")), cache).brief


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/file", "gopher:x"])
def test_a_redirect_leads_nowhere_but_to_other_servers(web: Server, cache: Cache, target: str) -> None:
    assert "it redirects" in refusal(web.says(redirect(target)), cache).brief


def test_names_passwords_and_tokens_are_sent_but_neither_shown_nor_kept(web: Server, cache: Cache) -> None:
    web.says(status(403), path="/file?token=t0psecret")
    url = web.url("/file?token=t0psecret").replace("//", "//me%40home:pass%3Aword@")
    error = refusal(url, cache)
    assert web.asked[0].headers["Authorization"] == "Basic bWVAaG9tZTpwYXNzOndvcmQ="
    kept = " ".join(path.name for path in cache.path.rglob("*")) + repr(error.__cause__) + str(error.details)
    for secret in ("t0psecret", "pass:", "pass%", "me@home", "me%40home"):
        assert secret not in error.brief + kept


def test_netrc_says_how_to_log_in_at_a_host(web: Server, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(
        "machine 127.0.0.1 login me password word\ndefault login any password any\n"
    )
    fetch(web.says(file(DATA)), cache)
    assert web.asked[0].headers["Authorization"] == "Basic bWU6d29yZA=="


def test_a_host_that_netrc_does_not_name_gets_no_password(web: Server, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(
        "machine example.org login me password word\ndefault login a password b\n"
    )
    fetch(web.says(file(DATA)), cache)
    assert "Authorization" not in web.asked[0].headers


def test_a_password_goes_to_its_own_host_only(web: Server, cache: Cache) -> None:
    with running() as other:
        url = web.says(redirect(other.says(file(DATA)).replace("127.0.0.1", "localhost")))
        fetch(url.replace("//", "//me:word@"), cache)
        assert "Authorization" in web.asked[0].headers
        assert "Authorization" not in other.asked[0].headers


def test_a_netrc_that_is_broken_is_named(web: Server, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine\n")
    with pytest.raises(FetchError, match=r"netrc' can't be read, which may know how to log in"):
        fetch(web.says(file(DATA)), cache)


def test_a_netrc_that_is_broken_at_a_password_does_not_show_it(
    web: Server, cache: Cache, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word t0psecret\n")
    with pytest.raises(FetchError, match="log in: line 2") as caught:
        fetch(web.says(file(DATA)), cache)
    assert "t0psecret" not in caught.value.brief + str(caught.value.details) + repr(caught.value.__cause__)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_used(
    web: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    monkeypatch.setenv(name, web.url("").replace("//", "//user:word@"))
    web.says(file(DATA), path="http://nowhere.invalid/file")
    assert_is(fetch("http://nowhere.invalid/file", cache), DATA, cache)
    assert web.asked[0].headers["Proxy-Authorization"] == "Basic dXNlcjp3b3Jk"


def test_a_host_that_needs_no_proxy_is_asked_itself(
    web: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.org,127.0.0.1")
    assert_is(fetch(web.says(file(DATA)), cache), DATA, cache)


def test_a_proxy_that_is_not_there_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "127.0.0.1:1")
    with pytest.raises(FetchError, match="the proxy does not let it through"):
        fetch("http://nowhere.invalid/file", cache)


def test_a_proxy_of_an_unknown_kind_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(FetchError, match="can't be fetched"):
        fetch("http://nowhere.invalid/file", cache)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that vouches for itself, with its key, for 127.0.0.1."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    command = [need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    with path.open("a") as both:
        both.write((path.parent / f"{path.name}.crt").read_text())
    return path


def test_a_server_that_nobody_vouches_for_is_refused_at_once(cache: Cache, certificate: Path) -> None:
    with running(certificate) as web, pytest.raises(FetchError, match="is not trusted") as caught:
        download(web.says(file(DATA)), sha256=None, cache=cache)
    assert web.asked == []
    assert caught.value.hint is not None
    assert "SSL_CERT_FILE" in caught.value.hint


def test_an_authority_of_ones_own_is_named_in_the_environment(
    cache: Cache, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with running(certificate) as web:
        url = web.says(file(DATA, {"ETag": '"1"'}, cut=70_000))
        blob = download(url, sha256=None, cache=cache, policy=RetryPolicy(2, 0.001))
    assert blob.path.read_bytes() == DATA


def test_what_was_asked_for_in_secret_is_not_fetched_in_the_open(
    web: Server, cache: Cache, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with running(certificate) as secret, pytest.raises(FetchError, match=r"it redirects from .* to 'http:'"):
        download(secret.says(redirect(web.says(file(DATA)))), sha256=None, cache=cache)
    assert web.asked == []


def test_plain_http_where_tls_is_spoken_is_given_up(cache: Cache, certificate: Path) -> None:
    with running(certificate) as web:
        url = web.says(file(DATA)).replace("https", "http")
        with pytest.raises(FetchError, match="the connection broke"):
            download(url, sha256=None, cache=cache, policy=RetryPolicy(2, 0.001))


def test_tls_where_plain_http_is_spoken_is_given_up(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA)).replace("http", "https")
    with pytest.raises(FetchError, match="the connection broke"):
        download(url, sha256=None, cache=cache, policy=RetryPolicy(2, 0.001))
