"""The links of a submission to Vertex AI Pipelines. Everything is read; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from kfgcp.backends.vertex.addresses import address
from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside, Check
from kfgcp.diagnosis.clock_skew import clock_skew
from kfgcp.diagnosis.connection import (
    CALL_LIMITS,
    HostProbe,
    describe_login,
    unreachable,
    with_grant_command,
)
from kfgcp.diagnosis.google_cloud import Cloud, gs_bucket
from kfgcp.errors import BackendError, ConfigError, NotFound, Refused
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.client import ServiceClient
from kfgcp.services.google_errors import is_about_location
from kfgcp.services.transport import TransportError


def vertex_checks(env: Environment, images: Sequence[str] | None = None) -> list[Check]:
    """The checks in the order in which a submission would meet what they look at. images: of the
    pipeline, if any."""
    place = Place(env)
    root = str(env.get("pipeline_root"))
    return [
        ("service", place.service),
        ("clock", place.clock),
        ("credentials", place.credentials),
        ("api", place.api),
        ("region", place.region),
        ("bucket", place.bucket),
        ("runner", partial(place.cloud.runner, root)),
        ("service_account", place.cloud.act_as),
        ("images", partial(place.cloud.images, images)),
        ("quota", partial(place.cloud.quota, str(env.get("location")))),
        ("logs", place.cloud.logs),
    ]


class Place:
    """A project and location of Vertex AI, as an environment describes it. cloud: what else a run
    needs there."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._project: str = env.get("project")
        self._location: str = env.get("location")
        self._endpoint: str | None = env.get("api_endpoint")
        self._tokens = token_source(env)
        base = self._endpoint or address(self._location)
        self._door = HostProbe(base, "")
        self._vertex = ServiceClient(base, self._tokens, service="Vertex AI", **CALL_LIMITS)
        self._asked = False
        self._refused: BackendError | None = None
        self.cloud = Cloud(env, self._tokens)

    def service(self) -> str:
        """The location's service can be reached, and its certificate is trusted."""
        try:
            self._door.response()
        except TransportError as failure:
            hint = self._not_there() if failure.unknown_name and not self._endpoint else ""
            raise unreachable(self._door.host, failure, hint) from None
        return f"{self._door.host} answers"

    def clock(self) -> str | Aside:
        return clock_skew(self._door.response().headers)

    def credentials(self) -> str | Aside:
        """There is a token; as whom."""
        said, self.cloud.account = describe_login(
            self._env, self._tokens.get(), is_google_token=True
        )
        return said

    def api(self) -> str:
        """The API is enabled in the project, and runs can be listed."""
        found = self._refusal()
        if isinstance(found, Refused) and not _of_region(found):
            hint = (
                found.hint or f"Check project and location in [env.{self._env.name}] of kfgcp.toml."
            )
            raise with_grant_command(
                found.amended(hint=hint), self.cloud.grant("roles/aiplatform.user")
            )
        if found is not None and not isinstance(found, Refused):
            raise found
        return f"enabled, and you may list the runs of {self._project}"

    def region(self) -> str:
        """Pipelines run in the location."""
        found = self._refusal()
        if found is not None:
            raise found.amended(hint=self._not_there())
        return f"{self._location} has pipelines"

    def bucket(self) -> str | Aside:
        """The pipeline root is in a bucket that is there."""
        root = str(self._env.get("pipeline_root"))
        if not gs_bucket(root):
            raise ConfigError(
                f"Environment '{self._env.name}' has pipeline_root = \"{root}\", which is not in a"
                " bucket.",
                hint="Write gs://BUCKET/FOLDER.",
            )
        return self.cloud.bucket(root)

    def _refusal(self) -> BackendError | None:
        """Why runs cannot be listed, None when they can; asked once."""
        if not self._asked:
            self._asked = True
            path = f"v1/projects/{self._project}/locations/{self._location}/pipelineJobs"
            try:
                self._vertex.get(path, params={"pageSize": 1, "readMask": "name"})
            except BackendError as error:
                self._refused = error
        return self._refused

    def _not_there(self) -> str:
        return (
            f"Is '{self._location}' a location of Vertex AI, as europe-west4 and us-central1 are?"
            f" Mend it in [env.{self._env.name}] of kfgcp.toml; or check the connection to the"
            " network."
        )


def _of_region(refused: Refused) -> bool:
    """Whether it is the location that is wrong: there is no such collection, or it is not
    supported."""
    return isinstance(refused, NotFound) or (
        refused.status == 400 and is_about_location(refused.explanation)
    )
