"""Every error that kfgcp raises on purpose, and the exit code of the command line for it.

    KfgcpError                   1   a bug of ours when raised bare
    ├── UsageError               2   the call is wrong: an option, a parameter, an unknown run
    │   ├── ConfigError          2   kfgcp.toml or an environment variable
    │   ├── ParamError           2   a parameter is unknown, missing or of the wrong type
    │   └── RunNotFound          2   no recorded run has this id, beginning of an id or name
    ├── SpecError                3   the pipeline does not compile, or is not a valid PipelineSpec
    ├── CheckFailed              4   a check found a problem, two pipelines differ, or a plan is old
    ├── BackendError             5   the backend refused or cannot be reached
    │   ├── Unsupported          5   the backend cannot do what the pipeline asks for
    │   ├── MachineError         5   this machine has no memory, threads, processes or disk space
    │   ├── StateError           5   the state folder: read-only, database damaged
    │   │   └── DiskFull         5   nothing can be recorded; what was recorded can be read
    │   ├── AuthError            5   the sign-in is missing, expired or not accepted
    │   │   └── IapRefused       5   Identity-Aware Proxy before the service did not accept it
    │   ├── BadAnswer            5   a service answered, but not as it documents
    │   ├── Unreachable          5   no connection, a timeout, only 5xx, or the answer of a proxy
    │   └── Refused              5   the service answered that it will not do it (4xx)
    │       └── NotFound         5   the service does not have it (404)
    ├── RunFailed                6   the run ended FAILED or CANCELLED
    ├── RunTimeout               7   the run did not end in time
    └── MissingExtra             8   an optional part of kfgcp is not installed

An error has a message of one line, which says what happened and where, and a hint, which says what
to do next.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Sequence
from typing import Self


class KfgcpError(Exception):
    """The base of all errors of kfgcp.

    Attributes:
        message: what happened and where.
        hint: what to do next. It may have several lines, or be empty.
        exit_code: the exit code of the command line.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def in_table(self, where: str) -> Self:
        """Return a copy whose message begins with a table of kfgcp.toml. The class stays the same.

        Args:
            where: the table: `kfgcp.toml [schedule.daily]`.

        Example:
            >>> Unsupported("Vertex AI has no interval of 7h.").in_table("kfgcp.toml [schedule.a]")
            Unsupported('kfgcp.toml [schedule.a]: Vertex AI has no interval of 7h.')
        """
        changed = copy.copy(self)
        if not self.message.startswith(where):
            changed.message = f"{where}: {self.message}"
            # `str(error)` and tracebacks show `args`.
            changed.args = (changed.message,)
        return changed


class UsageError(KfgcpError):
    """The call is wrong: an option, a parameter, or a run that does not exist."""

    exit_code = 2


class ConfigError(UsageError):
    """kfgcp.toml or an environment variable is wrong."""


class ParamError(UsageError):
    """A parameter of the pipeline is unknown, missing or of the wrong type."""


class RunNotFound(UsageError):
    """No recorded run has this id, beginning of an id or name."""


class SpecError(KfgcpError):
    """The pipeline does not compile or is not a valid spec.

    Attributes:
        user_traceback: the frames of the user's own code, when it raised an error as it was
            imported or compiled; else "".
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "", user_traceback: str = "") -> None:
        super().__init__(message, hint=hint)
        self.user_traceback = user_traceback


class CheckFailed(KfgcpError):
    """A check found a problem, `kfgcp diff --exit-code` a difference, or a plan is out of date."""

    exit_code = 4


class BackendError(KfgcpError):
    """The backend, or the connection to it, failed.

    Attributes:
        unknown: the service may have done what was requested, because the request was sent and no
            answer came.
        is_of_gateway: not the service but a gateway in front of it answered, with a page or a
            redirect, for example to a sign-in.
    """

    exit_code = 5
    unknown = False
    is_of_gateway = False

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed a little later."""
        return False

    def amended(
        self, *, message: str | None = None, hint: str | None = None, unknown: bool | None = None
    ) -> Self:
        """Return a changed copy. The error itself stays as it was raised.

        Args:
            message: the new message; None keeps it.
            hint: the new hint; None keeps it.
            unknown: the new value of the attribute; None keeps it.

        Example:
            >>> Unreachable("No answer.").amended(hint="Try again later.").hint
            'Try again later.'
        """
        changed = copy.copy(self)
        if hasattr(self, "__notes__"):
            # `copy` does not copy the list of notes.
            changed.__notes__ = list(self.__notes__)
        if message is not None:
            changed.message = message
            # `str(error)` and tracebacks show `args`.
            changed.args = (message,)
        if hint is not None:
            changed.hint = hint
        if unknown is not None:
            changed.unknown = unknown
        return changed


class Unsupported(BackendError):
    """The backend cannot do what the pipeline asks for."""


class MachineError(BackendError):
    """This machine has no memory, threads or processes left, or cannot write an output."""


class StateError(BackendError):
    """The state folder cannot be used: it is read-only, or its database is damaged."""


class DiskFull(StateError):
    """The disk of the state folder is full. What was recorded before can still be read."""


class AuthError(BackendError):
    """The sign-in is missing, expired or not accepted."""


class IapRefused(AuthError):
    """Identity-Aware Proxy did not accept the sign-in to the service behind it."""


class BadAnswer(BackendError):
    """A service answered, but a field of its answer is missing or has another type."""


class Unreachable(BackendError):
    """The service did not answer, or answered that it failed.

    Attributes:
        status: the status of HTTP, 500 to 599; 0 when there was no answer.
        from_service: the service itself answered, with an error in its own format.
        too_large: the answer was longer than kfgcp reads.
    """

    too_large = False

    def __init__(
        self, message: str, *, hint: str = "", status: int = 0, from_service: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.from_service = from_service

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed a little later: always."""
        return True


class Remedy(enum.Enum):
    """The change after which a refused request succeeds.

    ENABLE_API: the API has to be enabled in the project.
    GRANT_ACCESS: the account needs a role.
    RECOMPILE: the pipeline has to be compiled for the version of the server.
    """

    ENABLE_API = enum.auto()
    GRANT_ACCESS = enum.auto()
    RECOMPILE = enum.auto()


class Refused(BackendError):
    """A service refused a request.

    Attributes:
        status: the status of HTTP, 400 to 499 or 501. It is 500 for some bad requests to Kubeflow
            Pipelines.
        reason: Google's canonical code, such as INVALID_ARGUMENT. It is "" when neither the answer
            nor the status has one.
        fields: the fields of the request that the service does not accept, with the names in its
            answer (google.rpc.BadRequest).
        explanation: the message of the service, without what kfgcp adds to it.
        retried: the request was sent more than once, so an earlier attempt may have succeeded. A
            create may then be refused with 409.
        remedy: what the hint asks for, None for most refusals.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int = 0,
        reason: str = "",
        fields: Sequence[str] = (),
        explanation: str = "",
        retried: bool = False,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason
        self.fields = tuple(fields)
        self.explanation = explanation
        self.retried = retried
        self.remedy = remedy

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later: after too many requests (429)."""
        return self.status == 429


class NotFound(Refused):
    """A service does not have what was requested (404)."""


class RunFailed(KfgcpError):
    """A run ended FAILED or CANCELLED.

    Python's traceback also shows the last lines of the log of the failed task.

    Attributes:
        run_id: the id of the run.
        state: FAILED or CANCELLED.
        task: the path of the failed task; "" when the run was cancelled or failed outside of its
            tasks.
        log_tail: the last lines of that task's log; empty when the backend does not have them.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        run_id: str = "",
        state: str = "FAILED",
        task: str = "",
        log_tail: Sequence[str] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.run_id = run_id
        self.state = state
        self.task = task
        self.log_tail = tuple(log_tail)
        if self.log_tail:
            self.add_note("\n".join([f"The last lines of the log of {task}:", *self.log_tail]))
        if hint:
            self.add_note(f"hint: {hint}")


class RunTimeout(KfgcpError):
    """The run did not end in time."""

    exit_code = 7


class MissingExtra(KfgcpError):
    """A feature needs packages of an extra that is not installed."""

    exit_code = 8

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra '{extra}', which is not installed.",
            hint=self.installing(extra),
        )
        self.extra = extra

    @staticmethod
    def installing(extra: str) -> str:
        """Return the hint that says how to install an extra, see `kfgcp.installation`."""
        # Imported only here, because the module reads metadata of packages, which is slow.
        from kfgcp.installation import install_hint

        return install_hint(extra)


class NotWhole(UserWarning):
    """A part of a run, or of its logs, cannot be read now. The next read requests it again."""
