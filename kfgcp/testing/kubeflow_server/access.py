"""Who may do what: namespaces in multi-user mode, none in single-user mode.

In single-user mode a namespace in a request is not looked at. In multi-user mode runs and experiments need one, and a
namespace that the caller may not use is refused with PERMISSION_DENIED, whether or not it exists; pipelines without a
namespace are shared. Every good token is the same user.
"""

from __future__ import annotations

from collections.abc import Iterable

from kfgcp.testing.kubeflow_server.errors import DENIED, KfpError, invalid
from kfgcp.testing.server import Request, Response, Route

USER = "user@example.com"


class Access:
    """What the caller may use. multi_user: whether the server knows users. namespaces: those that are the caller's."""

    def __init__(self, multi_user: bool, namespaces: Iterable[str]) -> None:
        self.multi_user = multi_user
        self.namespaces = list(namespaces) if multi_user else []

    def routes(self, base: str) -> list[Route]:
        return [Route("GET", base + "/auth", self.authorize)]

    def authorize(self, request: Request) -> Response:
        """`GET auth`: whether the caller may use a namespace."""
        namespace = request.query.get("namespace", "")
        if not namespace:
            raise invalid("Namespace is empty. Please specify a valid namespace", "Authorize request is not valid")
        if self.multi_user:
            self.check(namespace, request.query.get("verb", "GET").lower(), "viewers")
        return Response()

    def place(self, namespace: str) -> str:
        """The namespace as this server takes it."""
        return namespace if self.multi_user else ""

    def check(self, namespace: str, verb: str, resource: str, *around: str, shared: bool = False) -> None:
        """Refuses what is not the caller's.

        Args:
            namespace: where it is.
            verb: `list`.
            resource: `runs`.
            around: what is being done.
            shared: whether it may be in no namespace.

        Raises:
            KfpError: INVALID or DENIED.
        """
        if not self.multi_user or (shared and not namespace):
            return
        if not namespace:
            raise invalid(f"{resource} cannot be in an empty namespace in multi-user mode", *around)
        if namespace not in self.namespaces:
            attributes = f"Namespace:{namespace},Verb:{verb},Group:pipelines.kubeflow.org,Resource:{resource}"
            text = f"User '{USER}' is not authorized with reason: (request: &ResourceAttributes{{{attributes},}})"
            raise KfpError(DENIED, text, *around, "Failed to authorize with API", "PermissionDenied")
