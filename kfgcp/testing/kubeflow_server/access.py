"""Who may do what: namespaces in multi-user mode, none in single-user mode.

In single-user mode a namespace in a request is not looked at. In multi-user mode runs and
experiments need one, and a namespace that the caller may not use is refused with PERMISSION_DENIED,
whether or not it exists; pipelines without a namespace are shared. Every good token is the same
user, until `users` says who may use what: then the header `kubeflow-userid` names the user, as the
proxy in front of a real server sets it. The texts are those of mu-no-user.json,
mu-no-namespace.json, mu-not-allowed.json and mu-run-get-not-allowed.json. There is no path `/auth`
(mu-auth.json).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Final

from kfgcp.testing.kubeflow_server.errors import DENIED, UNAUTHENTICATED, KfpError, invalid
from kfgcp.testing.server import Request

USER: Final = "user@example.com"
USER_HEADER: Final = "kubeflow-userid"
_CALLER: ContextVar[str | None] = ContextVar("caller", default=None)
_NAMES: Final = {"runs": "A run", "experiments": "An experiment", "jobs": "a recurring run"}
"""What errors call a resource (run_server.go, experiment_server.go, job_server.go)."""


class Access:
    """What the caller may use.

    Attributes:
        multi_user: whether the server knows users.
        namespaces: those that the caller may use, whoever it is.
        users: user -> namespaces; None while every caller is the same user.
    """

    def __init__(self, multi_user: bool, namespaces: Iterable[str]) -> None:
        self.multi_user = multi_user
        self.namespaces = list(namespaces) if multi_user else []
        self.users: Mapping[str, Iterable[str]] | None = None

    def enter(self, request: Request) -> None:
        """Remember who sent the request that this thread answers."""
        _CALLER.set(request.headers.get(USER_HEADER))

    def place(self, namespace: str) -> str:
        """Return the namespace as this server takes it."""
        return namespace if self.multi_user else ""

    def check(
        self,
        namespace: str,
        verb: str,
        resource: str,
        *around: str,
        shared: bool = False,
        name: str = "",
    ) -> None:
        """Refuse what is not the caller's.

        Args:
            namespace: where it is.
            verb: `list`.
            resource: `runs`.
            around: what is being done.
            shared: whether it may be in no namespace.
            name: of the single thing that is asked for.

        Raises:
            KfpError: INVALID, UNAUTHENTICATED or DENIED.
        """
        if not self.multi_user or (shared and not namespace):
            return
        if not namespace:
            thing = _NAMES.get(resource, resource)
            raise invalid(f"{thing} cannot have an empty namespace in multi-user mode", *around)
        user = self._user(*around)
        if namespace not in (self.namespaces if self.users is None else self.users.get(user, ())):
            attributes = (
                f"Namespace:{namespace},Verb:{verb},Group:pipelines.kubeflow.org,Version:v1beta1,Resource:{resource},"
                f"Subresource:,Name:{name},FieldSelector:nil,LabelSelector:nil,"
            )
            text = (
                f"User '{user}' is not authorized with reason:  (request:"
                f" &ResourceAttributes{{{attributes}}})"
            )
            raise KfpError(DENIED, text, *around, "PermissionDenied", cause="Unauthorized access")

    def _user(self, *around: str) -> str:
        if self.users is None:
            return USER
        user = _CALLER.get()
        if user is None:
            problem = "Request header error: there is no user identity header."
            raise KfpError(
                UNAUTHENTICATED,
                "Failed to check authorization. User identity is empty in the request header",
                *around,
                "Unauthenticated",
                cause=f"Unauthenticated: {problem}: {problem}",
            )
        return user
