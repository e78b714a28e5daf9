"""What one may do, as Google's services tell: whose token it is, and as which service accounts runs may be started.

Cloud Storage answers the same question about its buckets by itself: everything is allowed.
"""

from __future__ import annotations

from collections.abc import Callable

from kfgcp.testing.google import invalid, json_body
from kfgcp.testing.server import Request, Response, Route

ACT_AS = "iam.serviceAccounts.actAs"


class Permissions:
    """The caller's rights. account: who every token belongs to."""

    def __init__(self, may_act_as: Callable[[str], bool]) -> None:
        self.account = "somebody@stand-in.example"
        self._may_act_as = may_act_as

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/tokeninfo", self._token_info),
            Route("POST", "/v1/projects/-/serviceAccounts/{account}:testIamPermissions", self._of_account),
        ]

    def _token_info(self, request: Request) -> Response:
        return Response(body={"email": self.account, "email_verified": "true", "expires_in": "3599"})

    def _of_account(self, request: Request, account: str) -> Response:
        asked = json_body(request).get("permissions")
        if not isinstance(asked, list):
            raise invalid("permissions is not a list.", "permissions")
        allowed = [each for each in asked if each != ACT_AS or self._may_act_as(account)]
        return Response(body={"permissions": allowed} if allowed else {})
