"""Give advice for the errors of Google's APIs.

This module recognizes an error by its reason (google.api.ErrorReason), or else by words in its
message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kfgcp.errors import Remedy
from kfgcp.services.error_rules import NO_ADVICE, Advice, ErrorBody

LOG_IN: Final = "gcloud auth application-default login"

# Parts of messages and paths: a permission such as aiplatform.pipelineJobs.create, a service
# account, a project, and an API.
_PERMISSION: Final = re.compile(r"\b[Pp]ermissions?\b[^a-z]*\b([a-z][a-zA-Z]+(?:\.[a-zA-Z]+){2,})")
_ACCOUNT: Final = re.compile(r"[\w.-]+@[\w.-]+\.gserviceaccount\.com")
_PROJECT: Final = re.compile(r"\bprojects?[/ ]'?([a-z0-9:.-]*[a-z0-9])")
_API: Final = re.compile(r"\b([a-z]+\.googleapis\.com)\b")
# The name of a field in a message of Vertex AI -> the setting with the value of the field. The
# order matters: the first field in this table that the message contains counts.
_SETTINGS: Final = {
    "gcs_output_directory": "pipeline_root",
    "bucket": "pipeline_root",
    "kms_key_name": "encryption_key",
    "network_attachment": "psc_network_attachment",
    "reserved_ip_ranges": "reserved_ip_ranges",
    "network": "network",
    "service_account": "service_account",
}

# Hosts of an API in one location, such as europe-west4-aiplatform.googleapis.com, and in a
# multi-region, such as aiplatform.eu.rep.googleapis.com.
_REGIONAL: Final = re.compile(r"^(?P<location>[a-z]+-[a-z]+\d+)-(?P<api>[a-z]+\.googleapis\.com)$")
_MULTI_REGIONAL: Final = re.compile(r"^([a-z]+)\.(?:us|eu)\.rep(\.googleapis\.com)$")

_LOCATION: Final = re.compile(r"\b(?:location|region)\b", re.IGNORECASE)
_LOCATION_IN_PATH: Final = re.compile(r"/locations/([^/:]+)")


class GoogleErrors:
    """The rules for the errors of Google's APIs, see `ErrorRules`."""

    def is_refusal(self, path: str, message: str) -> bool:
        # Google's APIs never refuse a request with status 500.
        return False

    def cause(self, path: str, message: str) -> str:
        return message

    def advice(self, status: int, error: ErrorBody, text: str, *, path: str, host: str) -> Advice:
        project = _project(path, error.metadata, text)
        if is_disabled_api(text, error.reason):
            api = error.metadata.get("service") or _find(_API, text) or _api_of_host(host)
            command = f"gcloud services enable {api} --project {project}"
            return Advice(f"Enable the API, then wait a minute: {command}", Remedy.ENABLE_API)
        reason_hint = _reason_hint(error, text, project)
        if reason_hint:
            return Advice(reason_hint)
        # Cloud Logging does not name the project in its paths and refusals.
        if status == 403 and path.startswith("v2/entries"):
            role_hint = "Ask for roles/logging.viewer on the project of the runs."
            return Advice(role_hint, Remedy.GRANT_ACCESS)
        access_hint = _access_hint(status, text, error.metadata, project)
        if access_hint:
            return Advice(access_hint, Remedy.GRANT_ACCESS)
        other_hint = _other_hint(status, text, path, project, host)
        return Advice(other_hint) if other_hint else NO_ADVICE


def is_disabled_api(text: str, reason: str = "") -> bool:
    """Return whether a refusal means that the project has not enabled the API.

    Args:
        text: the message of the service.
        reason: the reason in the google.rpc.ErrorInfo, "" without one.
    """
    return (
        reason == "SERVICE_DISABLED"
        or "has not been used in project" in text
        or "accessNotConfigured" in text
    )


def is_about_location(text: str) -> bool:
    """Return whether the message of a refusal is about the location of a request."""
    return _LOCATION.search(text) is not None


def _reason_hint(error: ErrorBody, text: str, project: str) -> str:
    """Return the hint for a reason of google.api.ErrorReason, "" for other errors."""
    reason = error.reason
    if reason == "BILLING_DISABLED":
        return f"Give the project {project} a billing account."
    if reason == "USER_PROJECT_DENIED":
        # The login names the project that pays. The runs may be in another project.
        payer = error.metadata.get("consumer", "").removeprefix("projects/") or "of your login"
        return (
            f"Your requests use the quota of the project {payer}. Ask for"
            " roles/serviceusage.serviceUsageConsumer on this project, or choose another project:"
            " gcloud auth application-default set-quota-project PROJECT"
        )
    is_wrong_project = reason in ("CONSUMER_INVALID", "RESOURCE_PROJECT_INVALID")
    if is_wrong_project or "denied on resource project" in text:
        return (
            f"Check that {project} is the id of the project, and that you have access: gcloud"
            f" projects describe {project}"
        )
    if reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
        return f"The sign-in lacks the scope cloud-platform. Sign in again: {LOG_IN}"
    if reason == "SECURITY_POLICY_VIOLATED" or "vpcServiceControls" in text:
        return (
            f"VPC Service Controls protect {project}: ask its administrator to allow your network"
            " or account."
        )
    return ""


def _access_hint(status: int, text: str, metadata: Mapping[str, str], project: str) -> str:
    """Return the hint for missing permissions, "" for other errors."""
    account = _find(_ACCOUNT, text)
    # A service refuses with status 400 or 403 when the user may not act as the service account.
    if "actAs" in text or re.search(r"\bact as service[ _]account\b", text):
        return (
            f"Ask for roles/iam.serviceAccountUser on {account or 'the service account'}"
            " (iam.serviceAccounts.actAs)."
        )
    if status != 403:
        return ""
    permission = metadata.get("permission") or _find(_PERMISSION, text)
    if permission and permission.startswith("aiplatform."):
        return (
            f"Ask for a role with {permission} on project {project}, such as roles/aiplatform.user."
        )
    if permission:
        return f"Ask for a role with {permission} on project {project}."
    return f"Ask for access to {project}, or check that project is right in kfgcp.toml."


def _other_hint(status: int, text: str, path: str, project: str, host: str) -> str:
    """Return the hint for quotas, sizes, settings, locations and unknown ids, "" without one."""
    if status == 429:
        return (
            "Wait a minute and start fewer runs at the same time, or ask for more quota: "
            f"https://console.cloud.google.com/iam-admin/quotas?project={project}"
        )
    if "payload size exceeds" in text or status == 413:
        return (
            "Make the pipeline smaller: move code from components into their images, and large"
            " values into files."
        )
    setting = _setting_in(text)
    if status == 400 and setting:
        return f"Correct {setting} in [env.NAME] of kfgcp.toml."
    regional = _REGIONAL.match(host)
    location = regional["location"] if regional else _find(_LOCATION_IN_PATH, path)
    is_location_wrong = status == 400 and is_about_location(text)
    if location and (status == 404 or is_location_wrong):
        return (
            f"Check the id, and the project ({project}) and location ({location}) of the"
            " environment."
        )
    if status == 404:
        return f"Check the id, and that {host} is the right address."
    return ""


def _setting_in(text: str) -> str:
    """Return the setting for the field that a message names, "" without one."""
    for field, setting in _SETTINGS.items():
        if field in text:
            return setting
    return ""


def _project(path: str, metadata: Mapping[str, str], text: str) -> str:
    """Return the project that the request or the response names, else the placeholder PROJECT."""
    for source in (path, metadata.get("consumer", ""), text):
        project = _find(_PROJECT, source)
        if project:
            return project
    return "PROJECT"


def _api_of_host(host: str) -> str:
    """Return the host of an API without the location."""
    regional = _REGIONAL.match(host)
    return regional["api"] if regional else _MULTI_REGIONAL.sub(r"\1\2", host)


def _find(pattern: re.Pattern[str], text: str) -> str:
    """Return the first match of a pattern, "" without a match.

    For a pattern with a group, return only the text of the group.
    """
    match = pattern.search(text)
    if match is None:
        return ""
    return match[1] if pattern.groups else match[0]
