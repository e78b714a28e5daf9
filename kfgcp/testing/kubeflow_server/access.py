"""Check that the caller of a request may use the objects in a namespace.

In single-user mode the server ignores the namespace of a request and checks nothing. In multi-user
mode runs and experiments need a namespace. The server answers PERMISSION_DENIED for a namespace
that the caller may not use, whether or not it exists. Pipelines without a namespace are shared.

Every valid token belongs to the same user until a test sets `users`. From then on the header
`kubeflow-userid` names the user. The proxy in front of a real server sets this header. The texts of
errors are those of mu-no-user.json, mu-no-namespace.json, mu-not-allowed.json and
mu-run-get-not-allowed.json. The server does not have a path `/auth` (mu-auth.json).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Final

from kfgcp.testing.kubeflow_server.errors import (
    PERMISSION_DENIED,
    UNAUTHENTICATED,
    KfpError,
    invalid_input,
)
from kfgcp.testing.server import Request

USER: Final = "user@example.com"
USER_HEADER: Final = "kubeflow-userid"

# Each request has a thread of its own, so the variable holds the caller of one request.
_CALLER: ContextVar[str | None] = ContextVar("caller", default=None)

# How errors name a resource (run_server.go, experiment_server.go, job_server.go).
_RESOURCE_NAMES: Final = {
    "runs": "A run",
    "experiments": "An experiment",
    "jobs": "a recurring run",
}


class Access:
    """The namespaces that the caller of a request may use.

    Attributes:
        multi_user: whether the server knows users.
        namespaces: the namespaces that every caller may use while `users` is None.
        users: user -> namespaces; None while every caller is the same user.
    """

    def __init__(self, multi_user: bool, namespaces: Iterable[str]) -> None:
        self.multi_user = multi_user
        self.namespaces = list(namespaces) if multi_user else []
        self.users: Mapping[str, Iterable[str]] | None = None

    def remember_caller(self, request: Request) -> None:
        """Remember who sent the request that this thread answers."""
        _CALLER.set(request.headers.get(USER_HEADER))

    def normalize_namespace(self, namespace: str) -> str:
        """Return the namespace that this server uses, empty in single-user mode."""
        return namespace if self.multi_user else ""

    def check(
        self,
        namespace: str,
        verb: str,
        resource: str,
        *contexts: str,
        shared: bool = False,
        name: str = "",
    ) -> None:
        """Raise an error unless the caller may use an object.

        Args:
            namespace: the namespace of the object.
            verb: the verb of the permission, such as `list`.
            resource: the type of the object, such as `runs`.
            contexts: what the server was doing, the outermost step first.
            shared: whether an object without a namespace belongs to everybody.
            name: the name of the object, empty for a list.

        Raises:
            KfpError: INVALID, UNAUTHENTICATED or PERMISSION_DENIED.
        """
        if not self.multi_user or (shared and not namespace):
            return
        if not namespace:
            resource_name = _RESOURCE_NAMES.get(resource, resource)
            raise invalid_input(
                f"{resource_name} cannot have an empty namespace in multi-user mode", *contexts
            )
        user = self._read_user(*contexts)
        if namespace in self._allowed_namespaces(user):
            return
        # How the Go code of Kubernetes prints a ResourceAttributes.
        attributes = (
            f"Namespace:{namespace},Verb:{verb},Group:pipelines.kubeflow.org,Version:v1beta1,"
            f"Resource:{resource},Subresource:,Name:{name},FieldSelector:nil,LabelSelector:nil,"
        )
        raise KfpError(
            PERMISSION_DENIED,
            f"User '{user}' is not authorized with reason:  (request:"
            f" &ResourceAttributes{{{attributes}}})",
            *contexts,
            "PermissionDenied",
            cause="Unauthorized access",
        )

    def _allowed_namespaces(self, user: str) -> Iterable[str]:
        if self.users is None:
            return self.namespaces
        return self.users.get(user, ())

    def _read_user(self, *contexts: str) -> str:
        """Return the caller of the current request. Raise UNAUTHENTICATED if it names no user."""
        if self.users is None:
            return USER
        user = _CALLER.get()
        if user is None:
            problem = "Request header error: there is no user identity header."
            raise KfpError(
                UNAUTHENTICATED,
                "Failed to check authorization. User identity is empty in the request header",
                *contexts,
                "Unauthenticated",
                cause=f"Unauthenticated: {problem}: {problem}",
            )
        return user
