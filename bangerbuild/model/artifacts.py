"""Paths of artifacts, such as `vms/web/root.cow`: what they are made of, and how they are put together."""

from __future__ import annotations

import functools
import re

from bangerbuild.model.fingerprint import FINGERPRINT_LENGTH
from bangerbuild.model.ids import StepId

TOPS = {"vm": "vms", "image": "images", "network": "net"}
"""The directory of the store that has the artifacts of each table's steps."""
PLAIN_TABLES = ("vm", "network")
"""Those whose artifacts lie in one directory for each name, without a fingerprint."""
VM_DIRECTORIES = f"{TOPS['vm']}/*"
"""A pattern of the directories of VMs in a store."""
VM_FILES = f"{TOPS['vm']}/*/*"
"""A pattern of all files of VMs in a store."""
PLAIN_FILES = tuple(f"{TOPS[table]}/*/*" for table in PLAIN_TABLES)
"""Patterns of all files of VMs and of networks in a store."""
IMAGE_DIRECTORIES = f"{TOPS['image']}/*/*"
"""A pattern of all directories of images in a store; see `is_image_directory` for which of them are ours."""
OWNERS_DIRECTORIES = tuple(f"{top}/*" for top in TOPS.values())
"""Patterns of the directories of VMs, images and networks, see `directory_of`."""

_NAME = "[a-z0-9][a-z0-9_-]*"
_IMAGE_DIRECTORY = f"{TOPS['image']}/{_NAME}/[0-9a-f]{{{FINGERPRINT_LENGTH}}}"
_PLAIN_FILES = {table: re.compile(rf"{TOPS[table]}/({_NAME})/[^/]+") for table in PLAIN_TABLES}
_IMAGES_FILE = re.compile(
    rf"{TOPS['image']}/({_NAME})/(?:[0-9a-f]{{{FINGERPRINT_LENGTH}}}|{{fingerprint}})/[^/]+"
)
MOST_CHARACTERS = 1024
"""Of a path that is read out of a store."""
_PART = r"(?!\.\.?(?:/|\Z))[^/\x00-\x1f\x7f\ud800-\udfff]+"
_PATH = re.compile(rf"(?!\.|state\.db){_PART}(?:/{_PART})*")
_NAMED_DIRECTORY = re.compile(rf"{_IMAGE_DIRECTORY}(?=/)".encode())


class ArtifactPath(str):
    """The path of an artifact, relative to its store.

    It is text wherever users meet it. A VM's is `vms/NAME/FILE`, a network's `net/NAME/FILE`. An image's is
    `images/NAME/FINGERPRINT/FILE`, as each recipe has a directory of its own.
    """

    __slots__ = ()

    @classmethod
    def vm(cls, name: str, file: str) -> ArtifactPath:
        """The path of a VM's file."""
        return cls(f"{TOPS['vm']}/{name}/{file}")

    @classmethod
    def network(cls, name: str, file: str) -> ArtifactPath:
        """The path of a network's file."""
        return cls(f"{TOPS['network']}/{name}/{file}")

    @classmethod
    def image(cls, name: str, file: str) -> ArtifactPath:
        """The path of an image's file, for `Step.outputs`: the fingerprint is yet to be put in."""
        return cls(f"{TOPS['image']}/{name}/{{fingerprint}}/{file}")

    @classmethod
    def checked(cls, value: object) -> ArtifactPath:
        """A path that was read out of a store, which somebody else may have made.

        Raises:
            ValueError: it is no text, or leads to anything but an artifact: it is absolute, or has a part
                that is empty, `.` or `..`, or a character that no name of ours has, or is one of the store's
                own files.
        """
        if not isinstance(value, str):
            raise ValueError("the path of an artifact is no text")  # noqa: TRY004  # as for any other
        return _checked(value)

    @property
    def owner(self) -> StepId:
        """The VM, image or network that it belongs to, `vm.web`; empty if it is no artifact's path."""
        for table, pattern in _PLAIN_FILES.items():
            if found := pattern.fullmatch(self):
                return StepId(f"{table}.{found[1]}")
        found = _IMAGES_FILE.fullmatch(self)
        return StepId(f"image.{found[1]}" if found else "")

    @property
    def table(self) -> str:
        """`vm`, `image` or `network`; empty if it is no artifact's path."""
        return self.owner.table

    @property
    def directory(self) -> str:
        """All but the file's name."""
        return self.rpartition("/")[0]

    @property
    def image_directory(self) -> str | None:
        """The directory of an image that it lies in; None if it is no image's."""
        return self.directory if is_image_directory(self.directory) else None

    @property
    def file(self) -> str:
        """The file's name."""
        return self.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """What follows the file's first name, dots included: `.upper.ext4` of `root.upper.ext4`."""
        _, dot, rest = self.file.partition(".")
        return f"{dot}{rest}"


@functools.lru_cache(1 << 16)
def _checked(value: str) -> ArtifactPath:
    """Each path is in several records and a stamp."""
    if len(value) > MOST_CHARACTERS or not _PATH.fullmatch(value):
        raise ValueError(f"'{value[:MOST_CHARACTERS]}' is no path of an artifact")
    return ArtifactPath(value)


def directory_of(owner: StepId) -> str:
    """The directory of all artifacts of a VM, image or network."""
    return f"{TOPS[owner.table]}/{owner.name}"


def is_image_directory(path: str) -> bool:
    """Whether a path in the store is that of a directory that only an image's artifacts lie in."""
    return re.fullmatch(_IMAGE_DIRECTORY, path) is not None


def named_image_directories(content: bytes) -> frozenset[str]:
    """The directories of images that a text names paths in, wherever in it."""
    return frozenset(found.decode() for found in _NAMED_DIRECTORY.findall(content))
