"""Templates of Jinja2, sandboxed and strict: what is not known is an error, and a text always gives the same.

Each text is compiled once. Jinja2 is imported only where a template is used: it takes 30 ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from bangerbuild.manifest.problems import InvalidValueError, ToldError
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    import jinja2

MOST_CHARACTERS = 16 << 20
"""Of what one template gives."""
_MARKS = re.compile(r"\{[{%#]")
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")
"""How Python prints what has no text of its own: another one each time."""
_NOT_OF_EACH = ("index", "address", "prefix", "gateway", "mac")
"""What some VMs have and others do not."""
_PRINTABLE = (str, int, float, list, tuple, dict)
_NOT_REPEATABLE = {"globals": ("lipsum", "cycler", "joiner"), "filters": ("random",)}
"""What gives another text each time, or the address of an object."""


class TemplateFaultError(InvalidValueError):
    """A template that can't be used, with the line in it, from 1; 0: it is not known."""

    def __init__(self, message: str, hint: str | None = None, line: int = 0) -> None:
        super().__init__(message, hint)
        self.line = line


class Template:
    """One compiled text."""

    def __init__(self, compiled: jinja2.Template, text: str) -> None:
        self._addresses = set(_ADDRESS.findall(text))
        compiled.globals = dict(compiled.globals)  # Jinja2 copies them for each evaluation, a chain slowly
        self._compiled = compiled

    def render(self, known: Mapping[str, Any]) -> str:
        """The text that comes of these names.

        Raises:
            TemplateFaultError: a name in it is not known, or it can't be evaluated.
        """
        import jinja2  # noqa: PLC0415  see the module

        try:
            text = self._compiled.render(known)
        except jinja2.UndefinedError as err:
            raise _undefined(err, known) from err
        except InvalidValueError as err:
            err.line = err.line or _line(err)
            raise
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as err:
            raise TemplateFaultError(f"the template can't be evaluated: {err}", line=_line(err)) from err
        if len(text) > MOST_CHARACTERS:
            raise TemplateFaultError(f"the template gives more than {MOST_CHARACTERS >> 20} MiB")
        if not text.isascii():
            self._check_characters(text)
        if " at 0x" in text and (found := set(_ADDRESS.findall(text)) - self._addresses):
            what = min(found).partition(" at 0x")[0]
            raise TemplateFaultError(f"the template gives '{what}>', which is no text")
        return text

    @staticmethod
    def _check_characters(text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError as err:
            code = ord(text[err.start])
            raise TemplateFaultError(f"the template gives U+{code:04X}, which is no character") from err


def is_template(value: object) -> bool:
    """Whether a value is a text that a template makes something of."""
    return isinstance(value, str) and _MARKS.search(value) is not None


@lru_cache(maxsize=4096)
def compiled(text: str) -> Template:
    """The template that a text is.

    Raises:
        TemplateFaultError: it is none.
    """
    import jinja2  # noqa: PLC0415  see the module

    try:
        return Template(_sandbox().from_string(text), text)
    except jinja2.TemplateSyntaxError as err:
        message = (err.message or "it can't be read").removesuffix(".")
        raise TemplateFaultError(f"no template: {message[:1].lower()}{message[1:]}", line=err.lineno) from err


@lru_cache(maxsize=1)
def _sandbox() -> jinja2.Environment:
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  see the module

    class Strict(ImmutableSandboxedEnvironment):
        """Keys of tables come before methods, and no operator makes a text out of all proportion."""

        intercepted_binops = frozenset({"*", "**", "%"})

        def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401  any value
            if isinstance(obj, Mapping) and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
            if not all(isinstance(one, int | float) and abs(one) < 1 << 32 for one in (left, right)):
                raise TemplateFaultError(f"'{operator}' takes numbers of at most 32 bits in a template")
            if operator == "**" and abs(right) > 64:
                raise TemplateFaultError("'**' takes an exponent of at most 64 in a template")
            return super().call_binop(context, operator, left, right)

    made = Strict(undefined=_undefined_type(), keep_trailing_newline=True, finalize=_printable)
    for kind, names in _NOT_REPEATABLE.items():
        for name in names:
            getattr(made, kind).pop(name)
    return made


def told() -> object:
    """What stands for a value that has a problem which is told of already.

    It is undefined; a template that needs it raises `ToldError`.
    """
    raised: Any = ToldError  # Jinja2 only calls it
    return _undefined_type()(exc=raised)


@lru_cache(maxsize=1)
def _undefined_type() -> type[jinja2.StrictUndefined]:
    """The type of what is not there: an error however it is used, which says where it was looked for."""
    from jinja2 import StrictUndefined, UndefinedError  # noqa: PLC0415  see the module
    from jinja2.utils import missing  # noqa: PLC0415

    class NotThereError(UndefinedError):
        """Something that is not there was asked for, with what it was looked for in."""

        def __init__(self, holder: object, name: object, message: str) -> None:
            super().__init__(message)
            self.holder = None if holder is missing else holder
            self.name = name

    class Undefined(StrictUndefined):
        """What is not there, which no array or table that holds it hides."""

        def __init__(
            self,
            hint: str | None = None,
            obj: object = missing,
            name: str | None = None,
            exc: Any = UndefinedError,  # noqa: ANN401  Jinja2's own
        ) -> None:
            raised: Any = partial(NotThereError, obj, name) if exc is UndefinedError else exc
            super().__init__(hint, obj, name, raised)

        def __repr__(self) -> str:
            return str(self)  # which raises

    return Undefined


def _printable(value: object) -> object:
    """A value as it is printed; none, or what would print the address of an object, is refused."""
    from jinja2 import Undefined  # noqa: PLC0415  see the module

    if isinstance(value, (*_PRINTABLE, Undefined)):  # an undefined one says so itself
        return value
    kind = "none" if value is None else f"a {type(value).__name__}"
    raise TemplateFaultError(f"an expression of the template gives {kind}, which is no text")


def _undefined(err: jinja2.UndefinedError, known: Mapping[str, Any]) -> TemplateFaultError:
    holder, name = getattr(err, "holder", None), getattr(err, "name", None)
    if not isinstance(name, str):
        return TemplateFaultError(f"the template can't be evaluated: {err}", line=_line(err))
    names: Mapping[str, Any] = known if holder is None else holder if isinstance(holder, Mapping) else {}
    hint = near(name, [*names, *known]) or _listed(names)
    if holder is None and name in _NOT_OF_EACH and "name" in known:
        hint = f"'{known['name']}' has none here; {_listed(names)}"
    elif not names and holder is known.get("vars"):
        hint = "declare it in [vars]"
    return TemplateFaultError(f"'{name}' is undefined", hint, _line(err))


def _listed(names: Mapping[str, Any]) -> str | None:
    if not names:
        return None
    return f"known here: {', '.join(sorted(names)) if len(names) <= 20 else f'{len(names)} names'}"


def _line(err: BaseException) -> int:
    """The line of a template in which an error arose: Jinja2 rewrites tracebacks for that."""
    line, step = 1, err.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == "<template>":
            line = step.tb_lineno
        step = step.tb_next
    return line
