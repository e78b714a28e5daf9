"""What the errors of Google's APIs mean: by their reasons (google.api.ErrorReason) and by their
usual sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kfgcp.errors import Remedy
from kfgcp.services.error_rules import NO_ADVICE, Advice, ErrorBody

LOG_IN: Final = "gcloud auth application-default login"

_PERMISSION: Final = re.compile(r"\b[Pp]ermissions?\b[^a-z]*\b([a-z][a-zA-Z]+(?:\.[a-zA-Z]+){2,})")
_ACCOUNT: Final = re.compile(r"[\w.-]+@[\w.-]+\.gserviceaccount\.com")
_PROJECT: Final = re.compile(r"\bprojects?[/ ]'?([a-z0-9:.-]*[a-z0-9])")
_API: Final = re.compile(r"\b([a-z]+\.googleapis\.com)\b")
_SETTINGS: Final = {
    "gcs_output_directory": "pipeline_root",
    "bucket": "pipeline_root",
    "kms_key_name": "encryption_key",
    "network_attachment": "psc_network_attachment",
    "reserved_ip_ranges": "reserved_ip_ranges",
    "network": "network",
    "service_account": "service_account",
}
"""What Vertex AI calls a field in a message -> the setting that it comes from; the first that
fits."""
_REGIONAL: Final = re.compile(r"^(?P<location>[a-z]+-[a-z]+\d+)-(?P<api>[a-z]+\.googleapis\.com)$")
_LOCATION: Final = re.compile(r"\b(?:location|region)\b", re.IGNORECASE)
_MULTI_REGIONAL: Final = re.compile(r"^([a-z]+)\.(?:us|eu)\.rep(\.googleapis\.com)$")


class GoogleErrors:
    """The rules of Google's APIs. A refusal never has status 500, and a message is its own
    cause."""

    def is_refusal(self, path: str, message: str) -> bool:
        return False

    def cause(self, path: str, message: str) -> str:
        return message

    def advice(self, status: int, error: ErrorBody, text: str, *, path: str, host: str) -> Advice:
        project = _project(path, error.metadata, text)
        if is_disabled_api(text, error.reason):
            api = error.metadata.get("service") or _first(_API, text) or _api(host)
            command = f"gcloud services enable {api} --project {project}"
            return Advice(f"Enable the API, then wait a minute: {command}", Remedy.ENABLE_API)
        by_reason = _by_reason(error, text, project)
        if by_reason:
            return Advice(by_reason)
        # The paths and refusals of Cloud Logging name no project.
        if status == 403 and path.startswith("v2/entries"):
            role = "Ask for roles/logging.viewer on the project that the runs are in."
            return Advice(role, Remedy.GRANT_ACCESS)
        access = _access(status, text, error.metadata, project)
        if access:
            return Advice(access, Remedy.GRANT_ACCESS)
        other = _other(status, text, path, project, host)
        return Advice(other) if other else NO_ADVICE


def is_disabled_api(text: str, reason: str = "") -> bool:
    """Return whether a refusal says that the API is not enabled in the project.

    Args:
        text: the message of the service.
        reason: of its google.rpc.ErrorInfo, if any.
    """
    return (
        reason == "SERVICE_DISABLED"
        or "has not been used in project" in text
        or "accessNotConfigured" in text
    )


def is_about_location(text: str) -> bool:
    """Return whether the message of a refusal is about the location of a request."""
    return _LOCATION.search(text) is not None


def _by_reason(error: ErrorBody, text: str, project: str) -> str:
    """Return what to do about a reason of google.api.ErrorReason, empty for the others."""
    reason = error.reason
    if reason == "BILLING_DISABLED":
        return f"Give the project {project} a billing account."
    if reason == "USER_PROJECT_DENIED":
        payer = error.metadata.get("consumer", "").removeprefix("projects/") or "of your login"
        return (
            f"Let your account use the project {payer} for quotas"
            " (roles/serviceusage.serviceUsageConsumer), or choose another: gcloud auth"
            " application-default set-quota-project PROJECT"
        )
    if (
        reason in ("CONSUMER_INVALID", "RESOURCE_PROJECT_INVALID")
        or "denied on resource project" in text
    ):
        return (
            f"Is {project} the id of the project, and may you see it? gcloud projects describe"
            f" {project}"
        )
    if reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
        return f"The sign-in lacks the scope cloud-platform. Sign in again: {LOG_IN}"
    if reason == "SECURITY_POLICY_VIOLATED" or "vpcServiceControls" in text:
        return (
            f"VPC Service Controls protect {project}: ask its administrator to let your network or"
            " account in."
        )
    return ""


def _access(status: int, text: str, metadata: Mapping[str, str], project: str) -> str:
    """Return a hint about missing rights, empty when something else is wrong."""
    account = _first(_ACCOUNT, text)
    if "actAs" in text or re.search(r"\bact as service[ _]account\b", text):
        return (
            f"Ask for roles/iam.serviceAccountUser on {account or 'the service account'}"
            " (iam.serviceAccounts.actAs)."
        )
    if status != 403:
        return ""
    permission = metadata.get("permission") or _first(_PERMISSION, text)
    if permission and permission.startswith("aiplatform."):
        return (
            f"Ask for a role with {permission} on project {project}, such as roles/aiplatform.user."
        )
    if permission:
        return f"Ask for a role with {permission} on project {project}."
    return f"Ask for access to {project}, or check that the environment names the right project."


def _other(status: int, text: str, path: str, project: str, host: str) -> str:
    if status == 429:
        return (
            "Wait a minute and start less at once, or ask for more quota: "
            f"https://console.cloud.google.com/iam-admin/quotas?project={project}"
        )
    if "payload size exceeds" in text or status == 413:
        return (
            "Make the pipeline smaller: move code out of components into their images, and large"
            " values into files."
        )
    setting = (
        next((setting for word, setting in _SETTINGS.items() if word in text), None)
        if status == 400
        else None
    )
    if setting is not None:
        return f"Correct {setting} of the environment, in kfgcp.toml."
    regional = _REGIONAL.match(host)
    where = regional["location"] if regional else _first(re.compile(r"/locations/([^/:]+)"), path)
    if where and (status == 404 or (status == 400 and is_about_location(text))):
        return (
            f"Check the id, and that the environment's project ({project}) and location ({where})"
            " are right."
        )
    if status == 404:
        return f"Check the id, and that {host} is the right address."
    return ""


def _project(path: str, metadata: Mapping[str, str], text: str) -> str:
    """Return the project that the path of the request names, or the response."""
    for source in (path, metadata.get("consumer", ""), text):
        project = _first(_PROJECT, source)
        if project:
            return project
    return "PROJECT"


def _api(host: str) -> str:
    regional = _REGIONAL.match(host)
    return regional["api"] if regional else _MULTI_REGIONAL.sub(r"\1\2", host)


def _first(pattern: re.Pattern[str], text: str) -> str:
    """Return the first group of the first match, or the match when there is no group; empty without
    a match."""
    match = pattern.search(text)
    if match is None:
        return ""
    return match[1] if pattern.groups else match[0]
