"""Check what a run on Google Cloud needs besides the service that runs pipelines.

A run needs a bucket, access to the bucket, a service account, images, a quota and logs.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside
from kfgcp.diagnosis.connection import CALL_LIMITS, iam_member, with_grant_command
from kfgcp.errors import BackendError, NotFound, Refused, Remedy
from kfgcp.hosts import is_loopback
from kfgcp.model import timestamp
from kfgcp.services.auth.tokens import Anonymous, TokenSource
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import ADDRESS as LOGGING
from kfgcp.services.cloud_logging import CloudLogging
from kfgcp.services.fields import list_of, map_of, message, read, text, whole_number

STORAGE: Final = "https://storage.googleapis.com"
IAM: Final = "https://iam.googleapis.com"
TROUBLESHOOTER: Final = "https://policytroubleshooter.googleapis.com"
REGISTRY: Final = "https://artifactregistry.googleapis.com"
USAGE: Final = "https://serviceusage.googleapis.com"

WRITE: Final = "storage.objects.create"
BUCKET_PERMISSIONS: Final = (WRITE, "storage.objects.get", "storage.objects.list")
ACT_AS: Final = "iam.serviceAccounts.actAs"

# The quota of CPUs on Vertex AI for tasks that run on N1 and E2 machines. Other machines have
# quotas of their own.
CPUS: Final = "custom_model_training_cpus"

PERMISSIONS: Final = message({"permissions": list_of(text)})
ACCESS: Final = message({"access": text})
_QUOTA_BUCKET: Final = message({"effectiveLimit": whole_number, "dimensions": map_of(text)})
# A ConsumerQuotaMetric of Service Usage.
QUOTA: Final = message(
    {"consumerQuotaLimits": list_of(message({"quotaBuckets": list_of(_QUOTA_BUCKET)}))}
)

_IMAGE: Final = re.compile(
    r"(?P<location>[\w-]+)-docker\.pkg\.dev"
    r"/(?P<project>[^/]+)/(?P<repository>[^/]+)/(?P<image>[^:@]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]+))?"
)


class Cloud:
    """A project of Google Cloud, as an environment describes it.

    The environment may have endpoints for Cloud Logging and Artifact Registry. Cloud Storage may be
    at STORAGE_EMULATOR_HOST. If `api_endpoint` is a stand-in on this machine, the stand-in also
    answers for the other services. Otherwise they are at Google.

    Args:
        env: the environment.
        tokens: the source of the tokens for all requests.

    Attributes:
        account: the account that is signed in, for the commands in hints. The caller sets it. It is
            "" when the account is not known.
    """

    def __init__(self, env: Environment, tokens: TokenSource) -> None:
        self.account = ""
        self._env = env
        self._tokens = tokens
        self._project: str = env.get("project") or "PROJECT"
        endpoint = env.get("api_endpoint")
        self._emulator: str | None = endpoint if is_loopback(endpoint) else None

    def check_bucket(self, root: str, *, needs_your_access: bool = True) -> str | Aside:
        """Check that the bucket of a pipeline root exists, and that you can write and read it.

        Args:
            root: the pipeline root.
            needs_your_access: True if a missing permission of yours is an error. False if only
                runs use the bucket, with their own account.
        """
        name = gs_bucket(root)
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if self._emulator and not emulator:
            return Aside(
                "not checked: api_endpoint is an emulator, and STORAGE_EMULATOR_HOST is not set"
            )
        problem = self._bucket_problem(name, emulator)
        if problem is None:
            return f"gs://{name} can be written and read"
        if needs_your_access:
            raise problem
        return Aside(
            f"kfgcp does not know whether runs can use the bucket. {problem.message}", problem.hint
        )

    def _bucket_problem(self, name: str, emulator: str | None) -> BackendError | None:
        """Return the permission problem that keeps you from using a bucket, None without one.

        Raises:
            BackendError: the bucket does not exist, or the service does not answer.
        """
        path = f"storage/v1/b/{quote(name, safe='')}/iam/testPermissions"
        tokens = Anonymous() if emulator else self._tokens
        storage = ServiceClient(emulator or STORAGE, tokens, service="Cloud Storage", **CALL_LIMITS)
        grant = _bucket_grant_command(name, self.account)
        try:
            answer = storage.get(path, params={"permissions": BUCKET_PERMISSIONS})
        except NotFound:
            location = self._env.get("location") or "LOCATION"
            raise BackendError(
                f"There is no bucket '{name}'.",
                hint=(
                    f"gcloud storage buckets create gs://{name} --project={self._project}"
                    f" --location={location}"
                ),
            ) from None
        except Refused as refused:
            return with_grant_command(refused, grant)
        granted = _granted_permissions(answer, "Cloud Storage")
        missing = [permission for permission in BUCKET_PERMISSIONS if permission not in granted]
        if not missing:
            return None
        permissions = ", ".join(missing)
        return BackendError(f"You do not have {permissions} on gs://{name}.", hint=grant)

    def check_bucket_access_of_runs(self, root: str) -> str | Aside:
        """Check that the service account of runs can write to the bucket.

        The answer comes from Policy Troubleshooter, which knows the policies of the bucket, the
        project, the folders and the organisation.
        """
        account = self._env.get("service_account")
        if not account:
            return Aside("not checked: service_account is not set, so runs use a default one")
        name = gs_bucket(root)
        access_tuple = {
            "principal": account,
            "fullResourceName": f"//storage.googleapis.com/projects/_/buckets/{name}",
            "permission": WRITE,
        }
        troubleshooter = self._client(self._emulator or TROUBLESHOOTER, "Policy Troubleshooter")
        try:
            answer = troubleshooter.post(
                "v1/iam:troubleshoot", body={"accessTuple": access_tuple}, repeatable=True
            )
        except Refused as refused:
            return _not_checked(refused, self.grant_command("roles/iam.securityReviewer"))
        explanation = read(answer, ACCESS, service="Policy Troubleshooter", thing="an explanation")
        access = explanation.get("access")
        if access == "NOT_GRANTED":
            raise BackendError(
                f"{account} is not allowed to write to gs://{name} ({WRITE}).",
                hint=_bucket_grant_command(name, account),
            )
        if access != "GRANTED":
            return Aside(
                "not checked: you have no permission to see all policies",
                self.grant_command("roles/iam.securityReviewer"),
            )
        return f"{account} can write to gs://{name}"

    def check_act_as(self) -> str | Aside:
        """Check that you may start runs as the service account of the environment."""
        account = self._env.get("service_account")
        if not account:
            return Aside("not set: runs use the default service account of Vertex AI")
        grant = (
            f"gcloud iam service-accounts add-iam-policy-binding {account}"
            f" --member={iam_member(self.account)} --role=roles/iam.serviceAccountUser"
        )
        path = f"v1/projects/-/serviceAccounts/{quote(account)}:testIamPermissions"
        try:
            iam = self._client(self._emulator or IAM, "IAM")
            answer = iam.post(path, body={"permissions": [ACT_AS]}, repeatable=True)
        except NotFound:
            name = account.partition("@")[0]
            raise BackendError(
                f"There is no service account {account}.",
                hint=f"gcloud iam service-accounts create {name} --project={self._project}",
            ) from None
        except Refused as refused:
            # A submission does not need this API.
            if refused.remedy is Remedy.ENABLE_API:
                return Aside("not checked: the IAM API is not enabled", refused.hint)
            raise with_grant_command(refused, grant) from None
        if ACT_AS not in _granted_permissions(answer, "IAM"):
            raise BackendError(
                f"You are not allowed to start runs as {account} ({ACT_AS}).", hint=grant
            )
        return f"runs may be started as {account}"

    def check_images(self, images: Sequence[str] | None) -> str | Aside:
        """Check that the images of a pipeline exist, and that you may pull them.

        Args:
            images: the images of the pipeline. Only images in Artifact Registry are checked. None
                means that the user named no pipeline.
        """
        if images is None:
            return Aside(
                "not checked: no pipeline was given",
                f"kfgcp doctor PIPELINE --env {self._env.name}",
            )
        address = self._env.get("artifact_registry_endpoint") or REGISTRY
        registry = self._client(address, "Artifact Registry")
        checked_count = 0
        other_images = set()
        for image in images:
            match = _IMAGE.fullmatch(image)
            if match is None:
                other_images.add(image)
                continue
            self._check_image(registry, image, match)
            checked_count += 1
        names = ", ".join(sorted(other_images))
        if checked_count and other_images:
            return (
                f"{checked_count} in Artifact Registry; not checked, because not in Artifact"
                f" Registry: {names}"
            )
        if checked_count:
            return f"{checked_count} in Artifact Registry"
        if other_images:
            return Aside(f"not checked, because not in Artifact Registry: {names}")
        return Aside("the pipeline has no images")

    def _check_image(self, registry: ServiceClient, image: str, match: re.Match[str]) -> None:
        """Raise an error unless you may pull an image. match: the match of `_IMAGE`."""
        location, project = match["location"], match["project"]
        repository = match["repository"]
        parent = f"projects/{project}/locations/{location}/repositories/{repository}"
        version = f"tags/{match['tag'] or 'latest'}"
        if match["digest"]:
            version = f"versions/{match['digest']}"
        try:
            registry.get(f"v1/{parent}/packages/{quote(match['image'], safe='')}/{version}")
        except NotFound:
            folder = f"{location}-docker.pkg.dev/{project}/{repository}"
            raise BackendError(
                f"There is no image {image}.",
                hint=f"gcloud artifacts docker images list {folder} --include-tags",
            ) from None
        except Refused as refused:
            command = (
                f"gcloud artifacts repositories add-iam-policy-binding {repository}"
                f" --project={project} --location={location} --member={iam_member(self.account)}"
                " --role=roles/artifactregistry.reader"
            )
            raise with_grant_command(refused, command) from None

    def check_quota(self, location: str) -> str | Aside:
        """Check that the quota of CPUs for tasks is not 0. The use of the quota is not checked."""
        metric = quote(f"aiplatform.googleapis.com/{CPUS}", safe="")
        service = f"projects/{self._project}/services/aiplatform.googleapis.com"
        usage = self._client(self._emulator or USAGE, "Service Usage")
        try:
            answer = usage.get(f"v1beta1/{service}/consumerQuotaMetrics/{metric}")
        except Refused as refused:
            command = self.grant_command("roles/serviceusage.serviceUsageViewer")
            return _not_checked(refused, command)
        quota = read(answer, QUOTA, service="Service Usage", thing="a quota")
        limit = _quota_limit(quota, location)
        if limit is None:
            return Aside("unknown: the service reports no limit")
        if limit == 0:
            raise BackendError(
                f"The quota {CPUS} is 0 in {location}: tasks on the usual machines (N1, E2) do not"
                " start.",
                hint=(
                    "Ask for a higher quota:"
                    f" https://console.cloud.google.com/iam-admin/quotas?project={self._project}"
                ),
            )
        # Service Usage writes -1 for no limit.
        number = "any number of" if limit < 0 else str(limit)
        return f"{number} CPUs for tasks in {location}"

    def check_logs(self) -> str:
        """Check that you can read the project's entries in Cloud Logging."""
        address = self._env.get("logging_endpoint") or LOGGING
        logging = CloudLogging(self._client(address, "Cloud Logging"), self._project)
        one_minute_ago = timestamp(time.time() - 60)
        try:
            # The content of the log does not matter. The request fails when access is missing.
            next(logging.entries([f'timestamp>="{one_minute_ago}"'], size=1), None)
        except Refused as refused:
            raise with_grant_command(refused, self.grant_command("roles/logging.viewer")) from None
        return f"entries of {self._project} can be read"

    def grant_command(self, role: str) -> str:
        """Return the command that gives you a role on the project."""
        return (
            f"gcloud projects add-iam-policy-binding {self._project}"
            f" --member={iam_member(self.account)} --role={role}"
        )

    def _client(self, base: str, service: str) -> ServiceClient:
        return ServiceClient(base, self._tokens, service=service, **CALL_LIMITS)


def gs_bucket(root: str) -> str:
    """Return the bucket of a `gs://` URI, "" for other texts.

    Example:
        >>> gs_bucket("gs://models/runs"), gs_bucket("/data")
        ('models', '')
    """
    if not root.startswith("gs://"):
        return ""
    return root.removeprefix("gs://").partition("/")[0]


def _bucket_grant_command(name: str, account: str) -> str:
    """Return the command that lets an account write and read a bucket."""
    return (
        f"gcloud storage buckets add-iam-policy-binding gs://{name} --member={iam_member(account)}"
        " --role=roles/storage.objectUser"
    )


def _not_checked(refused: Refused, grant: str) -> Aside:
    """Return the result of a check whose request was refused, but which no run needs."""
    if refused.remedy is Remedy.ENABLE_API:
        return Aside("not checked: the API is not enabled", refused.hint)
    hint = grant if refused.status == 403 else refused.hint
    return Aside(f"not checked: {refused.message}", hint)


def _granted_permissions(answer: Mapping[str, Any], service: str) -> list[str]:
    """Return the permissions in the answer to a test of permissions."""
    checked = read(answer, PERMISSIONS, service=service, thing="a list of permissions")
    permissions: list[str] | None = checked.get("permissions")
    return permissions or []


def _quota_limit(quota: Mapping[str, Any], location: str) -> int | None:
    """Return the limit in a ConsumerQuotaMetric for a region, None when the metric has no limit."""
    region = {"region": location}
    limit: int | None = None
    # Service Usage lists the buckets from the least to the most specific one, so the last bucket
    # that fits the region counts.
    for quota_limit in quota.get("consumerQuotaLimits") or ():
        for bucket in quota_limit.get("quotaBuckets") or ():
            dimensions = bucket.get("dimensions") or {}
            # A bucket without dimensions is for all regions.
            if dimensions in ({}, region):
                limit = bucket.get("effectiveLimit", 0)
    return limit
