"""What to do about a refusal, in one line: from Google's reasons (google.api.ErrorReason) and its usual sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kfgcp.backends import kubeflow_errors

LOG_IN: Final = "gcloud auth application-default login"
ENABLE: Final = "Enable the API"
"""How the hint begins that an API is not enabled."""

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
"""What Vertex AI calls a field in a message -> the setting that it comes from; the first that fits."""
_REGIONAL: Final = re.compile(r"^(?P<location>[a-z]+-[a-z]+\d+)-(?P<api>[a-z]+\.googleapis\.com)$")
_MULTI_REGIONAL: Final = re.compile(r"^([a-z]+)\.(?:us|eu)\.rep(\.googleapis\.com)$")


def hint(status: int, text: str, detail: str, facts: Mapping[str, str], path: str, host: str) -> str:
    """What the user can do, empty when nobody knows.

    Args:
        text: the message of the service.
        detail, facts: reason and metadata of its google.rpc.ErrorInfo, if any.
    """
    project = _project(path, facts, text)
    if detail == "SERVICE_DISABLED" or "has not been used in project" in text or "accessNotConfigured" in text:
        api = facts.get("service") or _first(_API, text) or _api(host)
        return f"{ENABLE}, then wait a minute: gcloud services enable {api} --project {project}"
    if detail == "BILLING_DISABLED":
        return f"Give the project {project} a billing account."
    if detail == "USER_PROJECT_DENIED":
        payer = facts.get("consumer", "").removeprefix("projects/") or "of your login"
        return (
            f"Let your account use the project {payer} for quotas (roles/serviceusage.serviceUsageConsumer), or choose "
            "another: gcloud auth application-default set-quota-project PROJECT"
        )
    if detail in ("CONSUMER_INVALID", "RESOURCE_PROJECT_INVALID") or "denied on resource project" in text:
        return f"Is {project} the id of the project, and may you see it? gcloud projects describe {project}"
    if detail == "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
        return f"The sign-in lacks the scope cloud-platform. Sign in again: {LOG_IN}"
    if detail == "SECURITY_POLICY_VIOLATED" or "vpcServiceControls" in text:
        return f"VPC Service Controls protect {project}: ask its administrator to let your network or account in."
    if status == 403 and path.startswith("v2/entries"):  # of Cloud Logging; its paths and refusals name no project
        return "Ask for roles/logging.viewer on the project that the runs are in."
    if path.startswith(kubeflow_errors.PATHS):
        return kubeflow_errors.hint(status, text, host)
    return _access(status, text, facts, project) or _other(status, text, path, project, host)


def _access(status: int, text: str, facts: Mapping[str, str], project: str) -> str:
    account = _first(_ACCOUNT, text)
    if "actAs" in text or re.search(r"\bact as service[ _]account\b", text):
        return (
            f"Ask for roles/iam.serviceAccountUser on {account or 'the service account'} (iam.serviceAccounts.actAs)."
        )
    if status != 403:
        return ""
    permission = facts.get("permission") or _first(_PERMISSION, text)
    if permission and permission.startswith("aiplatform."):
        return f"Ask for a role with {permission} on project {project}, such as roles/aiplatform.user."
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
        return "Make the pipeline smaller: move code out of components into their images, and large values into files."
    setting = next((setting for word, setting in _SETTINGS.items() if word in text), None) if status == 400 else None
    if setting is not None:
        return f"Correct {setting} of the environment, in kfgcp.toml."
    regional = _REGIONAL.match(host)
    where = regional["location"] if regional else _first(re.compile(r"/locations/([^/:]+)"), path)
    if where and (status == 404 or (status == 400 and re.search(r"\b(?:location|region)\b", text, re.IGNORECASE))):
        return f"Check the id, and that the environment's project ({project}) and location ({where}) are right."
    if status == 404:
        return f"Check the id, and that {host} is the right address."
    return ""


def _project(path: str, facts: Mapping[str, str], text: str) -> str:
    """The project that is meant: of the request, else as the answer has it."""
    sources = (path, facts.get("consumer", ""), text)
    return next((found for source in sources if (found := _first(_PROJECT, source))), "PROJECT")


def _api(host: str) -> str:
    regional = _REGIONAL.match(host)
    return regional["api"] if regional else _MULTI_REGIONAL.sub(r"\1\2", host)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found and pattern.groups else found[0] if found else ""
