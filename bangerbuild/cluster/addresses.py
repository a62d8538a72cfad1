"""What `--cluster` may name: a scheduler, or a cluster on this machine to try it out."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.cluster.transport import Transport
    from bangerbuild.pipeline import Loaded

_LOCAL = re.compile("local:([1-9][0-9]{0,3})")
_TLS = re.compile(r"tls://[A-Za-z0-9._\[\]:-]+:[0-9]{1,5}")
_FORMS = "--cluster tls://SCHEDULER:8786, or local:N to try it on this machine"


def check(address: str) -> None:
    """Refuse what is no cluster.

    Raises:
        UsageError: it is none, or not encrypted.
    """
    if address.startswith("tcp://"):
        raise UsageError(
            f"--cluster {address}: shares hold secrets, and who is asked runs code: only tls:// will do",
            hint="docs/nodes.md says how to make the certificates",
        )
    if not _LOCAL.fullmatch(address) and not _TLS.fullmatch(address):
        raise UsageError(f"--cluster {address} is no address", hint=_FORMS)


def stores(address: str, loaded: Loaded) -> Mapping[str, str]:
    """The store of each node; a relative path counts from where its worker was started."""
    if _LOCAL.fullmatch(address):
        return {name: str(loaded.store / "nodes" / name) for name in loaded.manifest.nodes}
    return dict.fromkeys(loaded.manifest.nodes, _portable_store(loaded))


@contextmanager
def opened(address: str, loaded: Loaded, run: str) -> Iterator[Transport]:
    """The way to the nodes, for a run of that name.

    Raises:
        UsageError: it is no address, or there are fewer nodes than `local:N` asks for.
        ClusterError: nobody answers there, or the library is not installed.
    """
    check(address)
    try:
        from bangerbuild.cluster import scheduler  # noqa: PLC0415  # an extra, which need not be there
    except ModuleNotFoundError as err:
        hint = "pip install 'bangerbuild[cluster]'"
        raise ClusterError(f"--cluster needs '{err.name}', which is not installed", hint=hint) from err
    local = _LOCAL.fullmatch(address)
    if local is None:
        with scheduler.connected(address, run) as transport:
            yield transport
        return
    count, names = int(local[1]), list(loaded.manifest.nodes)
    if count > len(names):
        raise UsageError(
            f"--cluster {address}, and the manifest declares {len(names)} nodes",
            hint=f"--cluster local:{len(names)}",
        )
    directory = loaded.request.manifests[0].absolute().parent
    with scheduler.on_this_machine(names[:count], directory, run) as transport:
        yield transport


def _portable_store(loaded: Loaded) -> str:
    """The store as the nodes have it: relative to the manifest if it lies below it, else the same path."""
    directory = loaded.request.manifests[0].absolute().parent
    if loaded.store.is_relative_to(directory):
        return os.path.relpath(loaded.store, directory)
    return str(loaded.store)
