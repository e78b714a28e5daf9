"""The checks of `kfgcp doctor`, and their results.

A check is a function. It returns what it found in a few words, or `Aside` for something that is not
needed or was not checked. It raises one of our errors when a submission would fail there; the hint
of the error says how to fix it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kfgcp.errors import ConfigError, KfgcpError
from kfgcp.model import JsonValue

# Exit codes of the command.
BROKEN: Final = 5
MISCONFIGURED: Final = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Attributes:
        check: its name.
        ok: None for something that is not needed or was not checked.
        detail: what the check found, in a few words.
        hint: how to fix it; may be empty.
        exit_code: of the command.
    """

    check: str
    ok: bool | None
    detail: str
    hint: str = ""
    exit_code: int = 0

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the finding as JSON, as `kfgcp doctor --json` prints it."""
        return {"check": self.check, "ok": self.ok, "detail": self.detail, "hint": self.hint}


@dataclass(frozen=True, slots=True)
class Aside:
    """A result that does not stop a submission: not needed, not checked, or not sure."""

    detail: str
    hint: str = ""


Check = tuple[str, Callable[[], str | Aside]]


def run_checks(checks: Iterable[Check]) -> Iterator[Finding]:
    """Yield the findings of the checks in their order. The first broken one is the last."""
    for name, check in checks:
        try:
            result = check()
        except KfgcpError as error:
            yield failed_finding(name, error)
            return
        if isinstance(result, Aside):
            yield Finding(name, None, result.detail, result.hint)
        else:
            yield Finding(name, True, result)


def failed_finding(name: str, error: KfgcpError) -> Finding:
    """Return the finding of a check that raised an error."""
    code = MISCONFIGURED if isinstance(error, ConfigError) else BROKEN
    return Finding(name, False, error.message, error.hint, code)
