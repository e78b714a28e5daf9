"""What a run needs of Google Cloud besides the service that runs it: a bucket, access, images, a
quota, logs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside
from kfgcp.diagnosis.connection import PATIENCE, member, with_command
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
CPUS: Final = "custom_model_training_cpus"
"""The metric of the CPUs that tasks take on Vertex AI unless they ask for other machines than N1
and E2."""
PERMISSIONS: Final = message({"permissions": list_of(text)})
ACCESS: Final = message({"access": text})
_BUCKET: Final = message({"effectiveLimit": whole_number, "dimensions": map_of(text)})
QUOTA: Final = message(
    {"consumerQuotaLimits": list_of(message({"quotaBuckets": list_of(_BUCKET)}))}
)
"""A ConsumerQuotaMetric of Service Usage."""
_IMAGE: Final = re.compile(
    r"(?P<location>[\w-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)/(?P<image>[^:@]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]+))?"
)


class Cloud:
    """A project of Google Cloud, as an environment describes it. account: who is signed in, "" when
    that is not known.

    Cloud Logging and Artifact Registry are asked at their own endpoints when the environment has
    them, Cloud Storage at STORAGE_EMULATOR_HOST. The others are asked at `api_endpoint` when that
    is a stand-in on this machine.
    """

    def __init__(self, env: Environment, tokens: TokenSource) -> None:
        self.account = ""
        self._env = env
        self._tokens = tokens
        self._project: str = env.get("project") or "PROJECT"
        endpoint = env.get("api_endpoint")
        self._emulator: str | None = endpoint if is_loopback(endpoint) else None

    def bucket(self, root: str, *, by_you: bool = True) -> str | Aside:
        """The bucket of a pipeline root is there, and can be written and read. by_you: it matters
        whether you can."""
        name = bucket_of(root)
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if self._emulator and not emulator:
            return Aside(
                "not checked: api_endpoint is an emulator, and STORAGE_EMULATOR_HOST is not set"
            )
        path = f"storage/v1/b/{quote(name, safe='')}/iam/testPermissions"
        tokens = Anonymous() if emulator else self._tokens
        storage = ServiceClient(emulator or STORAGE, tokens, service="Cloud Storage", **PATIENCE)
        try:
            answer = storage.get(path, params={"permissions": BUCKET_PERMISSIONS})
        except NotFound:
            where = self._env.get("location") or "LOCATION"
            raise BackendError(
                f"There is no bucket '{name}'.",
                hint=(
                    f"gcloud storage buckets create gs://{name} --project={self._project}"
                    f" --location={where}"
                ),
            ) from None
        except Refused as refused:
            problem: BackendError = with_command(refused, _grant_bucket(name, self.account))
        else:
            held = _held(answer, "Cloud Storage")
            missing = [permission for permission in BUCKET_PERMISSIONS if permission not in held]
            if not missing:
                return f"gs://{name} can be written and read"
            lack = f"You lack {', '.join(missing)} on gs://{name}."
            problem = BackendError(lack, hint=_grant_bucket(name, self.account))
        if by_you:
            raise problem
        return Aside(f"not known whether runs can use it. {problem.message}", problem.hint)

    def runner(self, root: str) -> str | Aside:
        """The service account of runs can write to the bucket: the troubleshooter knows the
        policies of all levels."""
        account = self._env.get("service_account")
        if not account:
            return Aside("not checked: service_account is not set, and runs have a default one")
        name = bucket_of(root)
        resource = f"//storage.googleapis.com/projects/_/buckets/{name}"
        asked = {
            "accessTuple": {"principal": account, "fullResourceName": resource, "permission": WRITE}
        }
        troubleshooter = self._http(self._emulator or TROUBLESHOOTER, "Policy Troubleshooter")
        try:
            answer = troubleshooter.post("v1/iam:troubleshoot", body=asked, repeatable=True)
        except Refused as refused:
            return _not_checked(refused, self.grant("roles/iam.securityReviewer"))
        access = read(answer, ACCESS, service="Policy Troubleshooter", thing="an explanation").get(
            "access"
        )
        if access == "NOT_GRANTED":
            raise BackendError(
                f"{account} may not write to gs://{name} ({WRITE}).",
                hint=_grant_bucket(name, account),
            )
        if access != "GRANTED":
            return Aside(
                "not checked: you may not see all policies",
                self.grant("roles/iam.securityReviewer"),
            )
        return f"{account} can write to gs://{name}"

    def act_as(self) -> str | Aside:
        """Runs may be started as the service account that they run as."""
        account = self._env.get("service_account")
        if not account:
            return Aside("not set: runs use the default service account of Vertex AI")
        role = "roles/iam.serviceAccountUser"
        who = member(self.account)
        grant = (
            f"gcloud iam service-accounts add-iam-policy-binding {account} --member={who}"
            f" --role={role}"
        )
        path = f"v1/projects/-/serviceAccounts/{quote(account)}:testIamPermissions"
        try:
            iam = self._http(self._emulator or IAM, "IAM")
            answer = iam.post(path, body={"permissions": [ACT_AS]}, repeatable=True)
        except NotFound:
            raise BackendError(
                f"There is no service account {account}.",
                hint=(
                    f"gcloud iam service-accounts create {account.partition('@')[0]}"
                    f" --project={self._project}"
                ),
            ) from None
        except Refused as refused:
            if refused.remedy is Remedy.ENABLE_API:  # a submission does not need this API
                return Aside("not checked: the API of IAM is not enabled", refused.hint)
            raise with_command(refused, grant) from None
        if ACT_AS not in _held(answer, "IAM"):
            raise BackendError(f"You may not start runs as {account} ({ACT_AS}).", hint=grant)
        return f"runs may be started as {account}"

    def images(self, images: Sequence[str] | None) -> str | Aside:
        """The images of a pipeline that are in Artifact Registry are there, and you may pull them;
        None without one."""
        if images is None:
            return Aside(
                "not checked: no pipeline was named",
                f"kfgcp doctor PIPELINE --env {self._env.name}",
            )
        registry = self._http(
            self._env.get("artifact_registry_endpoint") or REGISTRY, "Artifact Registry"
        )
        checked = 0
        others = set()
        for image in images:
            match = _IMAGE.fullmatch(image)
            if match is None:
                others.add(image)
                continue
            self._image(registry, image, match)
            checked += 1
        unchecked = f"not checked: {', '.join(sorted(others))}"
        if not checked:
            return Aside(
                f"outside of Artifact Registry, {unchecked}" if others else "the pipeline has none"
            )
        result = f"{checked} in Artifact Registry"
        return f"{result}, outside of it {unchecked}" if others else result

    def _image(self, registry: ServiceClient, image: str, match: re.Match[str]) -> None:
        part = match.groupdict()
        parent = f"projects/{part['project']}/locations/{part['location']}/repositories/{part['repository']}"
        version = (
            f"versions/{part['digest']}" if part["digest"] else f"tags/{part['tag'] or 'latest'}"
        )
        try:
            registry.get(f"v1/{parent}/packages/{quote(part['image'], safe='')}/{version}")
        except NotFound:
            place = f"{part['location']}-docker.pkg.dev/{part['project']}/{part['repository']}"
            raise BackendError(
                f"There is no image {image}.",
                hint=f"gcloud artifacts docker images list {place} --include-tags",
            ) from None
        except Refused as refused:
            where = (
                f"{part['repository']} --project={part['project']} --location={part['location']}"
            )
            who, role = member(self.account), "roles/artifactregistry.reader"
            command = (
                f"gcloud artifacts repositories add-iam-policy-binding {where} --member={who}"
                f" --role={role}"
            )
            raise with_command(refused, command) from None

    def quota(self, location: str) -> str | Aside:
        """There are CPUs for tasks; how many are in use is not checked."""
        metric = quote(f"aiplatform.googleapis.com/{CPUS}", safe="")
        path = f"v1beta1/projects/{self._project}/services/aiplatform.googleapis.com/consumerQuotaMetrics/{metric}"
        try:
            answer = self._http(self._emulator or USAGE, "Service Usage").get(path)
        except Refused as refused:
            return _not_checked(refused, self.grant("roles/serviceusage.serviceUsageViewer"))
        limit = _limit(read(answer, QUOTA, service="Service Usage", thing="a quota"), location)
        if limit is None:
            return Aside("not known: the service names no limit")
        if limit == 0:
            raise BackendError(
                f"The quota {CPUS} is 0 in {location}: tasks on the usual machines (N1, E2) do not"
                " start.",
                hint=(
                    "Ask for more:"
                    f" https://console.cloud.google.com/iam-admin/quotas?project={self._project}"
                ),
            )
        return f"{'any number of' if limit < 0 else limit} CPUs for tasks in {location}"

    def logs(self) -> str:
        """The project's entries of Cloud Logging can be read."""
        logging = CloudLogging(
            self._http(self._env.get("logging_endpoint") or LOGGING, "Cloud Logging"), self._project
        )
        since = timestamp(time.time() - 60)
        try:
            next(logging.entries([f'timestamp>="{since}"'], size=1), None)
        except Refused as refused:
            raise with_command(refused, self.grant("roles/logging.viewer")) from None
        return f"entries of {self._project} can be read"

    def _http(self, base: str, service: str) -> ServiceClient:
        return ServiceClient(base, self._tokens, service=service, **PATIENCE)

    def grant(self, role: str) -> str:
        """The command that gives a role on the project to who is signed in."""
        who = member(self.account)
        return (
            f"gcloud projects add-iam-policy-binding {self._project} --member={who} --role={role}"
        )


def bucket_of(root: str) -> str:
    """The bucket of a URI gs://BUCKET/FOLDER, "" when it is none."""
    return root.removeprefix("gs://").partition("/")[0] if root.startswith("gs://") else ""


def _grant_bucket(name: str, account: str) -> str:
    role = "roles/storage.objectUser"
    return (
        f"gcloud storage buckets add-iam-policy-binding gs://{name} --member={member(account)}"
        f" --role={role}"
    )


def _not_checked(refused: Refused, grant: str) -> Aside:
    """For what a submission does without, and only a diagnosis asks."""
    if refused.remedy is Remedy.ENABLE_API:
        return Aside("not checked: the API is not enabled", refused.hint)
    return Aside(
        f"not checked: {refused.message}", grant if refused.status == 403 else refused.hint
    )


def _held(answer: Any, service: str) -> list[str]:
    """The permissions that a service says one has."""
    found: list[str] = (
        read(answer, PERMISSIONS, service=service, thing="a list of permissions").get("permissions")
        or []
    )
    return found


def _limit(quota: dict[str, Any], location: str) -> int | None:
    """The limit of a ConsumerQuotaMetric in a region; its buckets come from the least to the most
    specific."""
    limits: Iterable[Any] = quota.get("consumerQuotaLimits") or ()
    found: int | None = None
    for bucket in (bucket for limit in limits for bucket in limit.get("quotaBuckets") or ()):
        dimensions = bucket.get("dimensions") or {}
        if all((name, value) == ("region", location) for name, value in dimensions.items()):
            found = bucket.get("effectiveLimit", 0)
    return found
