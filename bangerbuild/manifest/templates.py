"""Templates of Jinja2, sandboxed and strict: what is not known is an error, and a text always gives the same.

Each text is compiled once. Jinja2 is imported only where a template is used: it takes 30 ms.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bangerbuild.manifest.problems import InvalidValueError
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Mapping

    import jinja2

MOST_CHARACTERS = 16 << 20
"""Of what one template gives."""
_MARKS = re.compile(r"\{[{%#]")
_UNDEFINED = re.compile(r"'([^']*)' is undefined|has no (?:attribute|element) '?([^']*?)'?$")
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

    def __init__(self, compiled: jinja2.Template) -> None:
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
        return text


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
        return Template(_sandbox().from_string(text))
    except jinja2.TemplateSyntaxError as err:
        message = (err.message or "it can't be read").removesuffix(".")
        raise TemplateFaultError(f"no template: {message[:1].lower()}{message[1:]}", line=err.lineno) from err


@lru_cache(maxsize=1)
def _sandbox() -> jinja2.Environment:
    from jinja2 import StrictUndefined  # noqa: PLC0415  see the module
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Strict(ImmutableSandboxedEnvironment):
        """Keys of tables come before methods, and no operator makes a text out of all proportion."""

        intercepted_binops = frozenset({"*", "**", "%"})

        def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401  any value
            if isinstance(obj, dict) and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
            if not all(isinstance(one, int | float) and abs(one) < 1 << 32 for one in (left, right)):
                raise TemplateFaultError(f"'{operator}' takes numbers of at most 32 bits in a template")
            if operator == "**" and abs(right) > 64:
                raise TemplateFaultError("'**' takes an exponent of at most 64 in a template")
            return super().call_binop(context, operator, left, right)

    made = Strict(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_printable)
    for kind, names in _NOT_REPEATABLE.items():
        for name in names:
            getattr(made, kind).pop(name)
    return made


def _printable(value: object) -> object:
    """A value as it is printed; none, or what would print the address of an object, is refused."""
    from jinja2 import Undefined  # noqa: PLC0415  see the module

    if isinstance(value, (*_PRINTABLE, Undefined)):  # an undefined one says so itself
        return value
    kind = "none" if value is None else f"a {type(value).__name__}"
    raise TemplateFaultError(f"an expression of the template gives {kind}, which is no text")


def _undefined(err: jinja2.UndefinedError, known: Mapping[str, Any]) -> TemplateFaultError:
    found = _UNDEFINED.search(str(err))
    name = (found[1] or found[2] or "") if found else ""
    if not name:
        return TemplateFaultError(f"the template can't be evaluated: {err}", line=_line(err))
    names = known if found and found[1] else known.get("vars", {})
    listed = ", ".join(sorted(names)) if len(names) <= 20 else f"{len(names)} names"
    hint = near(name, [*names, *known]) or (f"known here: {listed}" if names else "declare it in [vars]")
    return TemplateFaultError(f"'{name}' is undefined", hint, _line(err))


def _line(err: BaseException) -> int:
    """The line of a template in which an error arose: Jinja2 rewrites tracebacks for that."""
    line, step = 1, err.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == "<template>":
            line = step.tb_lineno
        step = step.tb_next
    return line
