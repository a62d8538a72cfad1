"""What all the harnesses share: how many examples, how a specimen is changed, and what must hold."""

from __future__ import annotations

import copy
import os
import resource
import signal
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from bangerbuild.errors import BangerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0")) or None
"""For each harness; None: as many as it names itself, for `make test`."""
CPU_SECONDS = 60
"""Of the processor, for one example: one that takes it has no end. A busy machine makes no difference."""
MEMORY_BYTES = 1 << 30
"""How much more address space one example may take than the tests have by then."""
WORDS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
FORMS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1 << 64, 1e308, float("inf"), "", "\0", "\ud800", "..", "/", "../../x", "a" * 300),
    *("²", "9" * 5000, [], {}, [[]], [""], [None], {"": ""}, "sha256:" + "0" * 64, "sha256:" + "g" * 64),
)

_KEPT = st.sampled_from(ODD_VALUES)


def few(count: int) -> settings:
    """The settings of a harness: `count` examples, or as many as the environment says."""
    return settings(
        max_examples=EXAMPLES or count,
        deadline=None,
        database=None,
        derandomize=EXAMPLES is None,
        phases=(Phase.explicit, Phase.generate, Phase.target, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw: st.DrawFn, specimens: Sequence[bytes], hot: Sequence[int] = ()) -> bytes:
    """A specimen after some changes, half of them at the `hot` offsets, where a format has its fields."""
    data = bytearray(draw(st.sampled_from(specimens)))
    for _ in range(draw(st.integers(1, 4))):
        anywhere = st.integers(0, max(0, len(data) - 1))
        near = st.sampled_from(hot) if hot else anywhere
        at = min(draw(st.one_of(anywhere, near)), len(data))
        draw(st.sampled_from(_CHANGES))(draw, data, at)
    return bytes(data)


def _bit(draw: st.DrawFn, data: bytearray, at: int) -> None:
    if at < len(data):
        data[at] ^= 1 << draw(st.integers(0, 7))


def _word(draw: st.DrawFn, data: bytearray, at: int) -> None:
    form, word = draw(st.sampled_from(FORMS)), draw(st.sampled_from(WORDS))
    size = struct.calcsize(form)
    data[at : at + size] = struct.pack(form, word & ((1 << 8 * size) - 1))[: max(0, len(data) - at)]


def _cut(_draw: st.DrawFn, data: bytearray, at: int) -> None:
    del data[at:]


def _lose(draw: st.DrawFn, data: bytearray, at: int) -> None:
    del data[at : at + draw(st.integers(1, 600))]


def _repeat(draw: st.DrawFn, data: bytearray, at: int) -> None:
    piece = data[at : at + draw(st.integers(1, 600))]
    data[at:at] = piece * draw(st.integers(1, 8))


def _put(draw: st.DrawFn, data: bytearray, at: int) -> None:
    data[at:at] = draw(st.binary(min_size=1, max_size=12))


def _clear(draw: st.DrawFn, data: bytearray, at: int) -> None:
    length = min(draw(st.sampled_from((1, 4, 16, 512, 4096))), len(data) - at)
    data[at : at + length] = bytes([draw(st.sampled_from((0, 0xFF)))]) * length


_CHANGES: tuple[Callable[[st.DrawFn, bytearray, int], None], ...] = (
    *(_bit, _bit, _word, _word, _word, _cut, _lose, _repeat, _put, _clear),
)


@st.composite
def damaged_json(draw: st.DrawFn, specimens: Sequence[Any]) -> Any:  # noqa: ANN401  # whatever JSON holds
    """A document after some changes of its values, keys and lists."""
    document = copy.deepcopy(draw(st.sampled_from(specimens)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        _change_value(draw, holder, key)
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change_value(draw: st.DrawFn, holder: Any, key: Any) -> None:  # noqa: ANN401
    how = draw(st.sampled_from(("value", "value", "lose", "key", "wrap", "twice")))
    if how == "lose":
        del holder[key]
    elif how == "key" and isinstance(holder, dict):
        holder[draw(st.sampled_from(("", "\0", "..", "a/../b", "x")))] = holder.pop(key)
    elif how == "wrap":
        holder[key] = [holder[key]]
    elif how == "twice" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[key] = copy.deepcopy(draw(_KEPT))


class Specimen(bytes):
    """Bytes that messages name by their length."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


class Place:
    """A directory for one harness, with a neighbour that must stay as it is."""

    def __init__(self, top: Path) -> None:
        self.inside = top / "inside"
        self.inside.mkdir()
        self._outside = top / "outside"
        self._outside.mkdir()
        (self._outside / "theirs").write_text("theirs")
        (top / "theirs").write_text("theirs")
        self._top = top
        self._before = self._seen()

    def _seen(self) -> list[tuple[str, int, int, bytes]]:
        found = [path for path in self._top.rglob("*") if self.inside not in (path, *path.parents)]
        return [
            (
                str(path),
                (at := path.lstat()).st_mtime_ns,
                at.st_mode,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in sorted(found)
        ]

    def assert_nothing_else_was_touched(self) -> None:
        assert self._seen() == self._before

    def clear(self) -> None:
        """Empty it for the next example."""
        for path in sorted(self.inside.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


class NoEndError(BaseException):
    """An example took more of the processor than any should; no handler of errors may take it for its own."""


def _no_end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise NoEndError


def assert_is_one_line(err: Exception, word: str = "") -> None:
    """An error says something, without a line break in it, and with the word."""
    said = str(getattr(err, "brief", err))
    assert said
    assert "\n" not in said
    assert word in said


@contextmanager
def within_limits() -> Iterator[None]:
    """Only a BangerError may end what is done here, and it takes no end of neither time nor memory."""
    old = signal.signal(signal.SIGPROF, _no_end)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    except BangerError as err:
        assert_is_one_line(err)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
