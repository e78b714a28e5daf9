"""The permissions and quotas of a stand-in.

It answers these questions:

- Which account does a token belong to? (`/tokeninfo`)
- As which service accounts may runs run? (IAM, v1)
- What may another account do? (Policy Troubleshooter, v1)
- How many CPUs may tasks use? (Service Usage, v1beta1)

The fields come from the documentation of AccessTuple and of ConsumerQuotaMetric. The stand-in of
Cloud Storage answers questions about buckets, and allows everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kfgcp.testing.google import invalid, json_body
from kfgcp.testing.server import Request, Response, Route

ACT_AS: Final = "iam.serviceAccounts.actAs"
TOKEN_INFO: Final = "/tokeninfo"  # noqa: S105 - a path
_SERVICE_ACCOUNT: Final = "/v1/projects/-/serviceAccounts/{account}"
_QUOTAS: Final = (
    "/v1beta1/projects/{project}/services/aiplatform.googleapis.com/consumerQuotaMetrics"
)
_CPUS: Final = "aiplatform.googleapis.com/custom_model_training_cpus"


class Permissions:
    """The permissions and quotas that the stand-in reports.

    Args:
        may_act_as: returns whether jobs may run as a service account.

    Attributes:
        account: the account that every token belongs to.
        denied: pairs of an account and a permission that the account does not have.
        training_cpus: the number of CPUs for tasks in each region, -1 for no limit. asia-east1
            always has 7.
    """

    def __init__(self, may_act_as: Callable[[str], bool]) -> None:
        self.account = "somebody@stand-in.example"
        self.denied: set[tuple[str, str]] = set()
        self.training_cpus = 42
        self._may_act_as = may_act_as

    def routes(self) -> list[Route]:
        """Return the routes of the services."""
        return [
            Route("POST", TOKEN_INFO, self._token_info),
            Route("POST", _SERVICE_ACCOUNT + ":testIamPermissions", self._test_permissions),
            Route("POST", "/v1/iam:troubleshoot", self._troubleshoot),
            Route("GET", f"{_QUOTAS}/{_CPUS}", self._quota),
        ]

    def _token_info(self, request: Request) -> Response:
        return Response(
            body={"email": self.account, "email_verified": "true", "expires_in": "3599"}
        )

    def _test_permissions(self, request: Request, account: str) -> Response:
        """Answer testIamPermissions: the permissions of the caller on a service account."""
        requested = json_body(request).get("permissions")
        if not isinstance(requested, list):
            raise invalid("permissions must be a list.", "permissions")
        allowed = [name for name in requested if name != ACT_AS or self._may_act_as(account)]
        # The JSON mapping of Protocol Buffers leaves out an empty list.
        return Response(body={"permissions": allowed} if allowed else {})

    def _troubleshoot(self, request: Request) -> Response:
        access = json_body(request).get("accessTuple")
        fields = {"principal", "fullResourceName", "permission"}
        if not isinstance(access, dict) or set(access) != fields:
            raise invalid(f"accessTuple must have {', '.join(sorted(fields))}.", "access_tuple")
        is_denied = (access["principal"], access["permission"]) in self.denied
        return Response(body={"access": "NOT_GRANTED" if is_denied else "GRANTED"})

    def _quota(self, request: Request, project: str) -> Response:
        # The limit for all regions, then the limit for one region.
        buckets = [
            {"effectiveLimit": str(self.training_cpus), "defaultLimit": "42"},
            {"effectiveLimit": "7", "dimensions": {"region": "asia-east1"}},
        ]
        unit = "1/{project}/{region}"
        return Response(
            body={"metric": _CPUS, "consumerQuotaLimits": [{"unit": unit, "quotaBuckets": buckets}]}
        )
