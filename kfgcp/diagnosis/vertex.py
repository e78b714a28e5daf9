"""The links of a submission to Vertex AI Pipelines. Everything is read; nothing is written."""

from __future__ import annotations

import os
import time
from typing import Final
from urllib.parse import quote

from kfgcp.backends.auth import token_source
from kfgcp.backends.cloud_logging import ADDRESS as LOGGING
from kfgcp.backends.cloud_logging import CloudLogging
from kfgcp.backends.hints import ENABLE
from kfgcp.backends.http import Http
from kfgcp.backends.vertex.backend import address
from kfgcp.backends.wire import NoAnswer
from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside, Check
from kfgcp.diagnosis.clock import clock_skew
from kfgcp.diagnosis.service import PATIENCE, Doorbell, member, signed_in, unreachable, with_command
from kfgcp.errors import BackendError, ConfigError, NotFound, Refused
from kfgcp.model import timestamp

STORAGE: Final = "https://storage.googleapis.com"
IAM: Final = "https://iam.googleapis.com"
BUCKET_PERMISSIONS: Final = ("storage.objects.create", "storage.objects.get", "storage.objects.list")
ACT_AS: Final = "iam.serviceAccounts.actAs"


def vertex_checks(env: Environment) -> list[Check]:
    """The checks in the order in which a submission would meet what they look at."""
    place = Place(env)
    return [
        ("service", place.service),
        ("clock", place.clock),
        ("credentials", place.credentials),
        ("api", place.api),
        ("bucket", place.bucket),
        ("service_account", place.service_account),
        ("logs", place.logs),
    ]


class Place:
    """A project and location of Vertex AI, as an environment describes it."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._project: str = env.get("project")
        self._location: str = env.get("location")
        self._emulator: str | None = env.get("api_endpoint")
        self._tokens = token_source(env)
        base = self._emulator or address(self._location)
        self._door = Doorbell(base, "")
        self._vertex = self._http(base, "Vertex AI")
        self._account = ""

    def service(self) -> str:
        """The location has a service, and it can be reached."""
        try:
            self._door.ring()
        except NoAnswer as failure:
            hint = ""
            if "name is unknown" in failure.what and not self._emulator:
                hint = (
                    f"Is '{self._location}' a location of Vertex AI, as europe-west4 and us-central1 are? Mend it "
                    f"in [env.{self._env.name}] of kfgcp.toml; or check the connection to the network."
                )
            raise unreachable(self._door.host, failure, hint) from None
        return f"{self._door.host} answers"

    def clock(self) -> str | Aside:
        return clock_skew(self._door.ring().headers)

    def credentials(self) -> str | Aside:
        said, self._account = signed_in(self._env, self._tokens.get())
        return said

    def api(self) -> str:
        """The API is enabled in the project, and runs can be listed."""
        path = f"v1/projects/{self._project}/locations/{self._location}/pipelineJobs"
        try:
            self._vertex.get(path, params={"pageSize": 1, "readMask": "name"})
        except Refused as refused:
            raise with_command(refused, self._grant("roles/aiplatform.user")) from None
        return f"runs can be listed in {self._project}, {self._location}"

    def bucket(self) -> str | Aside:
        """The bucket of the pipeline root is there, and objects can be written and read."""
        root = str(self._env.get("pipeline_root"))
        name = root.removeprefix("gs://").partition("/")[0]
        if not root.startswith("gs://") or not name:
            raise ConfigError(
                f"Environment '{self._env.name}' has pipeline_root = \"{root}\", which is not in a bucket.",
                hint="Write gs://BUCKET/FOLDER.",
            )
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        if self._emulator and not emulator:
            return Aside("not asked: api_endpoint is an emulator, and STORAGE_EMULATOR_HOST is not set")
        storage = self._http(emulator or STORAGE, "Cloud Storage")
        try:
            said = storage.get(
                f"storage/v1/b/{quote(name, safe='')}/iam/testPermissions", params={"permissions": BUCKET_PERMISSIONS}
            )
        except NotFound:
            raise BackendError(
                f"There is no bucket '{name}'.",
                hint=f"gcloud storage buckets create gs://{name} --project={self._project} --location={self._location}",
            ) from None
        except Refused as refused:
            raise with_command(refused, self._grant_bucket(name)) from None
        missing = [each for each in BUCKET_PERMISSIONS if each not in (said.get("permissions") or ())]
        if missing:
            raise BackendError(f"You lack {', '.join(missing)} on gs://{name}.", hint=self._grant_bucket(name))
        return f"gs://{name} can be written and read"

    def service_account(self) -> str | Aside:
        """Runs may be started as the service account that they run as."""
        account = self._env.get("service_account")
        if not account:
            return Aside("not set: runs use the default service account of Vertex AI")
        iam = self._http(self._emulator or IAM, "IAM")
        path = f"v1/projects/-/serviceAccounts/{quote(account)}:testIamPermissions"
        try:
            said = iam.post(path, body={"permissions": [ACT_AS]}, repeatable=True)
        except NotFound:
            raise BackendError(
                f"There is no service account {account}.",
                hint=f"gcloud iam service-accounts create {account.partition('@')[0]} --project={self._project}",
            ) from None
        except Refused as refused:
            if refused.hint.startswith(ENABLE):  # a submission does not need this API
                return Aside("not told: the API of IAM is not enabled", refused.hint)
            raise with_command(refused, self._grant_account(account)) from None
        if ACT_AS not in (said.get("permissions") or ()):
            raise BackendError(f"You may not start runs as {account} ({ACT_AS}).", hint=self._grant_account(account))
        return f"runs may be started as {account}"

    def logs(self) -> str:
        """The project's entries of Cloud Logging can be read."""
        logging = CloudLogging(self._http(self._emulator or LOGGING, "Cloud Logging"), self._project)
        since = timestamp(time.time() - 60)
        try:
            next(logging.entries([f'timestamp>="{since}"'], size=1), None)
        except Refused as refused:
            raise with_command(refused, self._grant("roles/logging.viewer")) from None
        return f"entries of {self._project} can be read"

    def _http(self, base: str, service: str) -> Http:
        return Http(base, self._tokens, service=service, **PATIENCE)

    def _grant(self, role: str) -> str:
        who = member(self._account)
        return f"gcloud projects add-iam-policy-binding {self._project} --member={who} --role={role}"

    def _grant_bucket(self, name: str) -> str:
        role = "roles/storage.objectUser"
        return (
            f"gcloud storage buckets add-iam-policy-binding gs://{name} --member={member(self._account)} --role={role}"
        )

    def _grant_account(self, account: str) -> str:
        who, role = member(self._account), "roles/iam.serviceAccountUser"
        return f"gcloud iam service-accounts add-iam-policy-binding {account} --member={who} --role={role}"
