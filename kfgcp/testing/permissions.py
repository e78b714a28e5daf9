"""What one may do, as Google's services tell: whose token it is, as which service accounts runs may
be started, what others may do (Policy Troubleshooter, v1), and how many CPUs there are for tasks
(Service Usage, v1beta1).

Cloud Storage answers the same question about its buckets by itself: everything is allowed. Fields
are those of the documentation (AccessTuple, ConsumerQuotaMetric).
"""

from __future__ import annotations

from collections.abc import Callable

from kfgcp.testing.google import invalid, json_body
from kfgcp.testing.server import Request, Response, Route

ACT_AS = "iam.serviceAccounts.actAs"
TOKEN_INFO = "/tokeninfo"  # noqa: S105 - a path
_SERVICES = "/v1beta1/projects/{project}/services"
_CPUS = "aiplatform.googleapis.com/custom_model_training_cpus"


class Permissions:
    """The caller's rights.

    Attributes:
        account: who every token belongs to.
        denied: (account, permission) that others do not have.
        training_cpus: CPUs for tasks in a region, -1 for any number; there are 7 in asia-east1.
    """

    def __init__(self, may_act_as: Callable[[str], bool]) -> None:
        self.account = "somebody@stand-in.example"
        self.denied: set[tuple[str, str]] = set()
        self.training_cpus = 42
        self._may_act_as = may_act_as

    def routes(self) -> list[Route]:
        return [
            Route("POST", TOKEN_INFO, self._token_info),
            Route(
                "POST",
                "/v1/projects/-/serviceAccounts/{account}:testIamPermissions",
                self._of_account,
            ),
            Route("POST", "/v1/iam:troubleshoot", self._troubleshoot),
            Route(
                "GET",
                f"{_SERVICES}/aiplatform.googleapis.com/consumerQuotaMetrics/{_CPUS}",
                self._quota,
            ),
        ]

    def _token_info(self, request: Request) -> Response:
        return Response(
            body={"email": self.account, "email_verified": "true", "expires_in": "3599"}
        )

    def _of_account(self, request: Request, account: str) -> Response:
        asked = json_body(request).get("permissions")
        if not isinstance(asked, list):
            raise invalid("permissions is not a list.", "permissions")
        allowed = [each for each in asked if each != ACT_AS or self._may_act_as(account)]
        return Response(body={"permissions": allowed} if allowed else {})

    def _troubleshoot(self, request: Request) -> Response:
        asked = json_body(request).get("accessTuple")
        if not isinstance(asked, dict) or set(asked) != {
            "principal",
            "fullResourceName",
            "permission",
        }:
            raise invalid("accessTuple is not whole.", "access_tuple")
        denied = (asked["principal"], asked["permission"]) in self.denied
        return Response(body={"access": "NOT_GRANTED" if denied else "GRANTED"})

    def _quota(self, request: Request, project: str) -> Response:
        buckets = [
            {"effectiveLimit": str(self.training_cpus), "defaultLimit": "42"},
            {"effectiveLimit": "7", "dimensions": {"region": "asia-east1"}},
        ]
        unit = "1/{project}/{region}"
        return Response(
            body={"metric": _CPUS, "consumerQuotaLimits": [{"unit": unit, "quotaBuckets": buckets}]}
        )
