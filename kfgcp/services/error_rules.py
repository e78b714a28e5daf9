"""The rules that explain the errors of a service: each service describes a refusal differently."""

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
        reason: the reason of its google.rpc.ErrorInfo, such as SERVICE_DISABLED.
        metadata: the metadata of its google.rpc.ErrorInfo.
        violations: the problems in its google.rpc.BadRequest, each with the field.
        fields: the fields that its google.rpc.BadRequest names.
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
        text: one line; empty when there is no advice.
        remedy: the change that the text asks for. Callers use it to add a command to the hint. None
            when there is nothing to add.
    """

    text: str
    remedy: Remedy | None = None


NO_ADVICE: Final = Advice("")


class ErrorRules(Protocol):
    """The meaning of the errors of one service. A backend may have its own rules."""

    def is_refusal(self, path: str, message: str) -> bool:
        """Return whether an error with status 500 is a refusal, so that a retry would fail too."""

    def cause(self, path: str, message: str) -> str:
        """Return the part of a message that says what is wrong."""

    def advice(self, status: int, error: ErrorBody, text: str, *, path: str, host: str) -> Advice:
        """Return what the user can do about a refusal.

        Args:
            status: the HTTP status of the response.
            error: the error in the body of the response.
            text: the message of the error with its violations.
            path: the path of the request, below the address of the service.
            host: the host of the service.
        """
