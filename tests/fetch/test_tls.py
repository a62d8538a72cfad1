"""Downloads over TLS, from a server whose authority this host knows or does not."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FetchError
from bangerbuild.fetch.connection import RetryPolicy
from bangerbuild.fetch.download import download
from tests.fetch.server import file, redirect, running
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.fetch.cache import Cache
    from tests.fetch.server import Server

DATA = os.urandom(100_000)


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
