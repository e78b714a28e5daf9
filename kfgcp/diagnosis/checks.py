"""What a check is and finds, and the walk from one to the next that ends at the first broken one.

A check is a function. It returns what it found in a few words, or `Aside` for what is not needed or
not checked. It raises one of our errors, whose hint says how to fix it, when a submission would
fail there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kfgcp.errors import ConfigError, KfgcpError
from kfgcp.model import JsonValue

BROKEN: Final = 5
MISCONFIGURED: Final = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name.
        ok: None for what is not needed or not checked.
        detail: what it found, in a few words.
        hint: how to fix it; may be empty.
        exit_code: of the command.
    """

    check: str
    ok: bool | None
    detail: str
    hint: str = ""
    exit_code: int = 0

    def to_dict(self) -> dict[str, JsonValue]:
        return {"check": self.check, "ok": self.ok, "detail": self.detail, "hint": self.hint}


@dataclass(frozen=True, slots=True)
class Aside:
    """Found, and no reason to stop: see `Finding.ok`."""

    detail: str
    hint: str = ""


Check = tuple[str, Callable[[], str | Aside]]


def walk(checks: Iterable[Check]) -> Iterator[Finding]:
    """What the checks find, one after the other, up to and with the first that is broken."""
    for name, look in checks:
        try:
            found = look()
        except KfgcpError as error:
            yield broken(name, error)
            return
        if isinstance(found, Aside):
            yield Finding(name, None, found.detail, found.hint)
        else:
            yield Finding(name, True, found)


def broken(name: str, error: KfgcpError) -> Finding:
    code = MISCONFIGURED if isinstance(error, ConfigError) else BROKEN
    return Finding(name, False, error.message, error.hint, code)
