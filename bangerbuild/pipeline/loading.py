"""A manifest, loaded: what is declared, the graph of its steps, and the part of it that is wanted."""

from __future__ import annotations

import dataclasses
import fnmatch
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

from bangerbuild import graph, manifest, shares, steps, store
from bangerbuild.declared import Manifest
from bangerbuild.errors import ManifestError, UsageError
from bangerbuild.model import StepId
from bangerbuild.model.arguments import check_type, listed
from bangerbuild.model.request import Request
from bangerbuild.neighbours import near
from bangerbuild.store import secrets_key
from bangerbuild.uptodate import command
from bangerbuild.uptodate.basis import Basis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bangerbuild.errors import Problem
    from bangerbuild.graph import Graph


NAME_STORE_HINT = "--store DIR names the store, whatever the manifest says"


def _unheard(_message: str) -> None:
    """A warning that nobody is told."""


@dataclass(frozen=True)
class Loaded:
    """A manifest and the graph of its steps, declared and checked once for the whole run."""

    request: Request
    manifest: Manifest
    whole: Graph
    """Of all that is declared."""
    wanted: Graph
    """The part of it that the targets need; without targets the whole."""
    basis: Basis = field(default_factory=Basis, repr=False, compare=False)
    """What loading looked at on this host."""
    is_read: bool = True
    """Whether it is known what is declared; see `load_to_read`."""
    new_key: bytes = field(default_factory=secrets_key.new, repr=False, compare=False)
    """For digests of secrets, if the store has no key yet."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the manifests, but no error."""
        return self.manifest.warnings

    @property
    def store(self) -> Path:
        """The store's directory."""
        return self.manifest.store


def load(  # noqa: PLR0913  # one parameter for each option of the command line
    manifests: Sequence[str | Path] = (),
    *,
    store: str | Path | None = None,
    targets: Sequence[str] = (),
    replace: Sequence[str] = (),
    locked: bool = False,
    offline: bool = False,
    upgrade: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[str | Path] = (),
    node: str | None = None,
    rebalance: bool = False,
) -> Loaded:
    """Load manifests, which act as one, and say which part of them is meant.

    Args:
        manifests: paths; none: `vm.toml` in the current directory.
        store: the store's directory, instead of the manifest's.
        targets: ids of steps, VMs or images; they and what they need are the only ones to be planned.
        replace: ids of what is made anew, whatever a guest has written to it.
        locked: refuse what the lock file would have to be changed for.
        offline: never use the network.
        upgrade: names of images whose sources are asked again what they stand for.
        variables: values of variables, instead of those in `[vars]`.
        variable_files: TOML files of such values; `variables` wins over them.
        node: the node whose share is wanted, or `all`; to plan and to apply where nodes are declared.
        rebalance: place VMs on nodes as if none had been leased one.

    Raises:
        ManifestError: there are problems; it holds all of them, each with file, line and key.
        UsageError: a target, an image to upgrade or the node names nothing.
        TypeError: an argument is of another type, such as one name where a list is asked for.
    """
    given = listed(manifests, "manifests", (str, Path), "a path")
    check_type(store, (str, Path, NoneType), "a path for store")
    check_type(locked, bool, "True or False for locked")
    check_type(offline, bool, "True or False for offline")
    check_type(node, (str, NoneType), "a name for node")
    check_type(rebalance, bool, "True or False for rebalance")
    check_type(variables, (dict, NoneType), "a dict of names and values for variables")
    return load_request(
        Request(
            tuple(Path(path) for path in given) or (Path(command.DEFAULT_MANIFEST),),
            None if store is None else Path(store),
            listed(targets, "targets", str, "a name"),
            listed(replace, "replace", str, "a name"),
            offline,
            locked,
            listed(upgrade, "upgrade", str, "a name"),
            tuple((variables or {}).items()),
            tuple(map(Path, listed(variable_files, "variable_files", (str, Path), "a path"))),
            node,
            rebalance,
        )
    )


def load_request(
    request: Request, warn: Callable[[str], None] = _unheard, *, needs_files: bool = True
) -> Loaded:
    """The same of a request as a value; `warn` is told what is odd about the manifests.

    Without `needs_files`, files of this host that they name may be missing: nothing can be planned then.
    """
    basis = Basis()
    with basis.recording():
        found = manifest.load(
            request.manifests, store=request.store, settings=_settings(request), needs_files=needs_files
        )
        for message in found.warnings:
            warn(message)
        return _declared(request, found, basis)


def _settings(request: Request) -> manifest.Settings:
    return manifest.Settings(request.variables, request.variable_files, request.rebalance)


def load_to_read(
    request: Request, warn: Callable[[str], None], tell: Callable[[Problem], None] | None = None
) -> Loaded:
    """The same for a command that only reads the store, or removes what it is told to.

    Files of the host may be missing. Of a manifest with problems, or that is not there, nothing counts as
    declared.

    Args:
        request: the manifests, and the store.
        warn: is told what is odd.
        tell: is told the problems; None: they are warned of.

    Raises:
        ManifestError: there are problems, and it is not known which store is meant, or nothing is in it.
        UsageError: a target names nothing.
    """
    told = tell or partial(_warn_of, warn)
    try:
        found = manifest.load(
            request.manifests, store=request.store, settings=_settings(request), needs_files=False
        )
    except ManifestError as err:
        if err.store is None or not store.read(err.store).records:
            err.hint = None if request.store else NAME_STORE_HINT
            raise
        for problem in err.problems:
            told(problem)
        warn(f"nothing can be said of what is declared: only what lies in '{err.store}' counts")
        nothing = graph.build(())
        return Loaded(request, Manifest(err.store, {}, {}), nothing, nothing, Basis(), is_read=False)
    for message in found.warnings:
        warn(message)
    for problem in found.absent:
        told(problem)
    return _declared(request, found, Basis())


def places(loaded: Loaded) -> dict[str, tuple[str, int]]:
    """The file and line of each image, VM, network and fleet, by ids such as `vm.web`."""
    return manifest.declared_at(loaded.manifest)


def _warn_of(warn: Callable[[str], None], problem: Problem) -> None:
    warn("; ".join(line.strip() for line in problem.lines()))


def narrowed(loaded: Loaded, targets: tuple[str, ...]) -> Loaded:
    """What is loaded, with other targets."""
    request = dataclasses.replace(loaded.request, targets=targets)
    names = expanded(loaded.manifest, targets)
    wanted = shares.wanted(loaded.manifest, loaded.whole, targets, names)
    return dataclasses.replace(loaded, request=request, wanted=wanted)


def of_images(loaded: Loaded, names: Sequence[str]) -> Loaded:
    """What is loaded, for the artifacts of some images alone; of all where none is named.

    Raises:
        UsageError: one of them is not declared.
    """
    for name in names:
        refuse_unknown_image(loaded.manifest, name)
    chosen = {f"image.{name}" for name in names or loaded.manifest.images}
    artifacts = graph.immutable(loaded.whole)
    targets = tuple(one for one in artifacts if StepId(one).owner in chosen)
    request = dataclasses.replace(loaded.request, targets=targets)
    return dataclasses.replace(loaded, request=request, wanted=graph.restrict(loaded.whole, targets))


def refuse_without_node(loaded: Loaded) -> None:
    """Refuse to do anything for a node that is not named; images alone are no node's.

    Raises:
        UsageError: nodes are declared, and none is named.
    """
    if loaded.request.targets and all(StepId(one).table == "image" for one in loaded.wanted):
        return
    shares.refuse_unnamed(loaded.manifest, loaded.request.node)


def expanded(found: Manifest, targets: Sequence[str]) -> tuple[str, ...]:
    """What targets stand for: `fleet.runner` for each of its VMs, `fleet.runner.root` for their roots.

    Raises:
        UsageError: there is no such fleet.
    """
    names: list[str] = []
    for target in targets:
        table, _, rest = target.partition(".")
        name, dot, part = rest.partition(".")
        if table != "fleet" or not rest:
            names.append(target)
        elif meant := fnmatch.filter(found.fleets, name):
            names += (f"vm.{member}{dot}{part}" for fleet in meant for member in found.fleets[fleet])
        else:
            known = [f"fleet.{one}" for one in found.fleets]
            hint = near(f"fleet.{name}", known) or f"known: {', '.join(known) or 'none'}"
            raise UsageError(f"no fleet is called '{name}'", hint=hint)
    return tuple(names)


def load_image(found: Manifest, *, offline: bool) -> Loaded:
    """A manifest that is no file; its sources are asked what they stand for today."""
    asked_again = () if offline else tuple(found.images)  # no lock file says what is meant
    return _declared(Request((), offline=offline, upgrade=asked_again), found, Basis())


def load_value(request: Request, found: Manifest) -> Loaded:
    """A manifest that came as a value from another machine: no record of it answers a later run."""
    basis = Basis()
    basis.refuse_to_remember()
    return _declared(request, found, basis)


def _declared(request: Request, found: Manifest, basis: Basis) -> Loaded:
    for name in request.upgrade:
        refuse_unknown_image(found, name)
    found = shares.seen_from(found, request.node)
    whole = graph.build(steps.declare(found))
    wanted = shares.wanted(found, whole, request.targets, expanded(found, request.targets))
    return Loaded(request, found, whole, wanted, basis)


def refuse_unknown_image(found: Manifest, name: str) -> None:
    """Refuse to upgrade an image that is not declared."""
    if name not in found.images:
        hint = near(name, found.images) or f"known: {', '.join(found.images)}"
        raise UsageError(f"no image is called '{name}'", hint=hint)
