"""Programs that build a Dockerfile: their command lines, and what comes of them, an archive of one image.

buildah and podman work in a storage of their own beside the build, with plain directories and without
namespaces of their own for what is run (`vfs` and `chroot`): that works as root and as a user, in containers
too, and gives the same bytes. docker builds in its daemon.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Protocol

from bangerbuild.errors import FetchError, ToolError
from bangerbuild.fetch import foreign_files
from bangerbuild.formats.oci.reference import DOCKER_ARCHIVE, OCI_ARCHIVE
from bangerbuild.formats.oci.skopeo import environment
from bangerbuild.host import process
from bangerbuild.host.process import Command, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_OUTPUT_BYTES = 64 << 20
_SHOWN_LINES = 60
_TRIAL_SECONDS = 10
_TAG = "localhost/bangerbuild:built"


@dataclass(frozen=True)
class Build:
    """What is built, and where."""

    written: str
    """What messages call it."""
    place: Path
    """A private directory, which has `context` and `Dockerfile`; the archive becomes `image.tar` in it."""
    platform: str
    target: str | None
    arguments: Mapping[str, str]
    epoch: int
    said: Callable[[str, str], None] = field(compare=False)
    """Is told `written`, and a line that the builder printed."""

    @property
    def archive(self) -> Path:
        """Where the image is written."""
        return self.place / "image.tar"

    @property
    def options(self) -> tuple[str, ...]:
        """The options that all builders have; the values of arguments come by the environment."""
        target = (f"--target={self.target}",) if self.target else ()
        arguments = tuple(f"--build-arg={name}" for name in sorted(self.arguments))
        return (f"--platform={self.platform}", *target, *arguments, f"--file={self.place / 'Dockerfile'}")

    def command(self, *argv: str) -> Command:
        """A command of a builder, run where the build is: a FROM may name a layout there."""
        environ = {**environment(os.environ), "TMPDIR": str(self.place), **self.arguments}
        return Command(
            argv,
            environ,
            output_bytes=_OUTPUT_BYTES,
            directory=str(self.place),
            label=f"{argv[0]} build {self.written}",
            on_line=partial(self.said, self.written),
            runs_others=True,
        )


def usable(builder: Builder) -> str:
    """How a builder works on this host for this user, for `doctor`.

    Raises:
        ToolError: it can't build.
    """
    process.find(builder.name)
    trial, words = builder.trial()
    if trial is not None:
        limited = replace(
            trial, env=environment(os.environ), timeout_seconds=_TRIAL_SECONDS, ok=frozenset(range(256))
        )
        done = process.run(limited)
        if done.code != 0:
            said = done.output.strip().splitlines()[-1:]
            raise ToolError(f"it can't be used: {''.join(said)}", hint=_way_out(done.output))
    return words


class Builder(Protocol):
    """A program that builds images."""

    name: ClassVar[str]
    transport: ClassVar[str]
    """Of the archive that it makes."""
    takes_layouts: ClassVar[bool]
    """Whether a FROM may name a layout of the host; else it has to fetch what a digest names."""

    def commands(self, build: Build) -> tuple[Command, ...]:
        """What is run, one after the other."""

    def trial(self) -> tuple[Command | None, str]:
        """What shows that it works for this user, and how it does then; None: that needs no trial."""


class _WithStorage(Builder):
    """buildah, and podman, which has buildah in it."""

    transport: ClassVar[str] = OCI_ARCHIVE
    takes_layouts: ClassVar[bool] = True

    def trial(self) -> tuple[Command | None, str]:
        """A user's namespace is what may be missing."""
        if os.geteuid() == 0:
            return None, "as root"
        return Command((self.name, "unshare", "true")), "in a user namespace"

    def _build(self, build: Build, *more: str) -> Command:
        """In Docker's format on the way: in OCI's there is no place for SHELL, and RUN would not heed it."""
        fixed = ("--isolation=chroot", "--format=docker", f"--timestamp={build.epoch}")
        options = (*fixed, *build.options, *more, str(build.place / "context"))
        return build.command(*self._start(build), "build", *options)

    def _start(self, build: Build) -> tuple[str, ...]:
        """As root its mounts are kept from the host; else it has a namespace of its own anyhow."""
        apart = ("unshare", "--mount", "--propagation=private", "--") if os.geteuid() == 0 else ()
        places = (f"--root={build.place / 'storage'}", f"--runroot={build.place / 'run'}")
        return (*apart, self.name, *places, "--storage-driver=vfs")


class Buildah(_WithStorage):
    """github.com/containers/buildah."""

    name: ClassVar[str] = "buildah"

    def commands(self, build: Build) -> tuple[Command, ...]:
        """It writes the archive itself."""
        tag = f"oci-archive:{build.archive.name}:built"  # the path has to look like a name of an image
        return (self._build(build, "--omit-history", "--identity-label=false", f"--tag={tag}"),)


class Podman(_WithStorage):
    """podman.io."""

    name: ClassVar[str] = "podman"

    def commands(self, build: Build) -> tuple[Command, ...]:
        """The image is saved out of its storage."""
        save = ("save", "--format=oci-archive", f"--output={build.archive}", _TAG)
        return (self._build(build, f"--tag={_TAG}"), build.command(*self._start(build), *save))


class Docker(Builder):
    """docs.docker.com; its daemon keeps layers, so that what is unchanged is not run again."""

    name: ClassVar[str] = "docker"
    transport: ClassVar[str] = DOCKER_ARCHIVE
    takes_layouts: ClassVar[bool] = False

    def trial(self) -> tuple[Command | None, str]:
        """Its daemon has to answer."""
        return Command(("docker", "version")), "in its daemon"

    def commands(self, build: Build) -> tuple[Command, ...]:
        """The image has a name of its own in the daemon until it is saved."""
        tag = f"bangerbuild-{build.place.name.lower()}:built"
        return (
            build.command("docker", "build", *build.options, f"--tag={tag}", str(build.place / "context")),
            build.command("docker", "save", f"--output={build.archive}", tag),
            build.command("docker", "image", "rm", tag),
        )


BUILDERS: dict[str, Builder] = {kind.name: kind() for kind in (Buildah, Podman, Docker)}
PROGRAMS = tuple(
    Program(builder.name, "builds Dockerfiles; one that does will do", partial(usable, builder))
    for builder in BUILDERS.values()
)


def chosen(name: str | None) -> Builder:
    """The builder of a name; without one the first that is installed.

    Raises:
        ToolError: there is none.
    """
    if name is not None:
        process.find(name)
        return BUILDERS[name]
    found = (one for one in BUILDERS.values() if shutil.which(one.name, path=process.SEARCH_PATH))
    builder = next(found, None)
    if builder is None:
        raise ToolError(
            f"nothing that builds a Dockerfile is installed: {', '.join(BUILDERS)}",
            hint="apt install buildah",
        )
    return builder


def build(builder: Builder, wanted: Build) -> None:
    """Build an image.

    Raises:
        FetchError: the build failed; the details are the end of what it printed.
        ToolError: the builder is missing.
    """
    try:
        for command in builder.commands(wanted):
            process.find(builder.name)
            process.run(command)
    except ToolError as err:
        if err.details is None:
            raise
        lines = err.details.splitlines()[-_SHOWN_LINES:]
        brief = f"'{wanted.written}' can't be built by {builder.name}"
        raise FetchError(brief, details="\n".join(lines), hint=_way_out(err.details)) from err
    finally:
        for name in ("storage", "run"):
            foreign_files.remove(wanted.place / name)


@dataclass(frozen=True)
class _Lack:
    """What a host lacks, told by what a builder prints."""

    pattern: re.Pattern[str]
    hint: str


_LACKS = (
    _Lack(re.compile("finding new[ug]idmap|new[ug]idmap.*not found"), "apt install uidmap"),
    _Lack(
        re.compile("CLONE_NEWUSER|[Uu]ser namespaces are not enabled"),
        "have user namespaces allowed (as root: `sysctl user.max_user_namespaces=10000`, with AppArmor also "
        "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`), or build as root",
    ),
    _Lack(
        re.compile("setting supplemental groups|setting owner of|insufficient [UG]IDs|lchown .*: invalid"),
        "RUN, and owners other than you, need numbers of users that are yours: as root, "
        "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`; or build as root",
    ),
    _Lack(
        re.compile(r"locker directory: mkdir \S+: permission denied"),
        "give the builder a home directory that is yours: export HOME=/var/tmp/me",
    ),
    _Lack(
        re.compile("Unknown instruction"),
        "if that is in a here-document (`RUN <<EOF`): buildah reads these from 1.33 and podman from 4.8 on; "
        "join its lines with `&&`, or say `builder = 'docker'`",
    ),
    _Lack(
        re.compile("(?i)permission denied.*docker.*sock|docker daemon socket.*permission denied"),
        'become a member of the group docker, or say `builder = "buildah"`',
    ),
    _Lack(
        re.compile("Cannot connect to the Docker daemon"),
        'start it (`systemctl start docker`), or say `builder = "buildah"`',
    ),
)


def _way_out(printed: str) -> str | None:
    return next((lack.hint for lack in _LACKS if lack.pattern.search(printed)), None)
