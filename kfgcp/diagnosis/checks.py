"""The checks of `kfgcp doctor`, and their results.

A check is a function with three possible outcomes:

- The check passes, and the function returns a few words about the result.
- The check does not matter or could not be made, and the function returns an `Aside`.
- A submission would fail, and the function raises one of our errors. The hint of the error says how
  to fix the problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kfgcp.errors import ConfigError, KfgcpError
from kfgcp.model import JsonValue

# Exit codes of `kfgcp doctor`: a check failed, or kfgcp.toml is wrong.
BROKEN: Final = 5
MISCONFIGURED: Final = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Attributes:
        check: the name of the check.
        ok: whether the check passed. None for an `Aside`.
        detail: the result in a few words.
        hint: how to fix the problem; may be empty.
        exit_code: the exit code of `kfgcp doctor` for this finding.
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
    """Run checks in order and yield their findings. Stop after the first check that fails."""
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
