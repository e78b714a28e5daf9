"""The interface of rules that explain the errors of a service.

Each service describes a refusal in another way. So a backend may have its own rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from kfgcp.errors import Remedy


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The error in the body of a response.

    Attributes:
        message: the text of the service.
        code: the name of a google.rpc.Code, such as NOT_FOUND.
        reason: the reason in the google.rpc.ErrorInfo of the error, such as SERVICE_DISABLED.
        metadata: the metadata in the google.rpc.ErrorInfo.
        violations: the problems in the google.rpc.BadRequest of the error: `FIELD: PROBLEM`.
        fields: the names of the fields in the google.rpc.BadRequest.
    """

    message: str = ""
    code: str = ""
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[str] = ()
    fields: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """The advice for a refusal.

    Attributes:
        text: one line; "" when there is no advice.
        remedy: the change that the text asks for, None for other advice. A caller that knows the
            account can add the command for this change to the hint.
    """

    text: str
    remedy: Remedy | None = None


NO_ADVICE: Final = Advice("")


class ErrorRules(Protocol):
    """The rules for the errors of one service."""

    def is_refusal(self, path: str, message: str) -> bool:
        """Return whether an error with status 500 is a refusal. A retry would fail then, too."""

    def cause(self, path: str, message: str) -> str:
        """Return the part of an error message that tells the cause."""

    def advice(self, status: int, error: ErrorBody, text: str, *, path: str, host: str) -> Advice:
        """Return the advice to the user for a refusal.

        Args:
            status: the HTTP status of the response.
            error: the error in the body of the response.
            text: the message of the error with its violations.
            path: the path of the request, below the address of the service.
            host: the host of the service.
        """
