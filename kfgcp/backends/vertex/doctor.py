"""The checks of `kfgcp doctor` for Vertex AI. They only read, and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from kfgcp.backends.vertex.addresses import address
from kfgcp.backends.vertex.settings import VertexSettings
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
    """Return the checks, in the order in which a submission needs what they look at.

    Args:
        env: the environment. Its required settings must be there.
        images: of the pipeline that will run, None when there is no pipeline.
    """
    place = Place(env)
    settings = place.settings
    return [
        ("service", place.service),
        ("clock", place.clock),
        ("credentials", place.credentials),
        ("api", place.api),
        ("region", place.region),
        ("bucket", place.bucket),
        ("runner", partial(place.cloud.check_bucket_access_of_runs, settings.pipeline_root)),
        ("service_account", place.cloud.check_act_as),
        ("images", partial(place.cloud.check_images, images)),
        ("quota", partial(place.cloud.check_quota, settings.location)),
        ("logs", place.cloud.check_logs),
    ]


class Place:
    """A project and location of Vertex AI, as an environment describes it.

    Attributes:
        settings: of the environment.
        cloud: the other services of Google Cloud that a run needs there.
    """

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.settings = VertexSettings.of(env.settings)
        tokens = token_source(env)
        self._tokens = tokens
        base = self.settings.api_endpoint or address(self.settings.location)
        self._door = HostProbe(base, "")
        self._vertex = ServiceClient(base, tokens, service="Vertex AI", **CALL_LIMITS)
        self._has_listed = False
        self._list_error: BackendError | None = None
        self.cloud = Cloud(env, tokens)

    def service(self) -> str:
        """Check that the service of the location can be reached, and its certificate is trusted."""
        try:
            self._door.response()
        except TransportError as failure:
            # The name of the host contains the location, so a wrong location is an unknown name.
            is_location_in_name = not self.settings.api_endpoint
            hint = self._location_hint() if failure.unknown_name and is_location_in_name else ""
            raise unreachable(self._door.host, failure, hint) from None
        return f"{self._door.host} answers"

    def clock(self) -> str | Aside:
        """Check that the clock of this machine agrees with that of the service."""
        return clock_skew(self._door.response().headers)

    def credentials(self) -> str | Aside:
        """Check that there is a token, and tell whose it is."""
        finding, account = describe_login(self._env, self._tokens.get(), is_google_token=True)
        self.cloud.account = account
        return finding

    def api(self) -> str:
        """Check that the API is enabled in the project, and that runs can be listed."""
        error = self._error_of_list()
        if error is None or _is_about_location(error):
            return f"enabled, and you may list the runs of {self.settings.project}"
        if not isinstance(error, Refused):
            raise error
        hint = error.hint or f"Check project and location in [env.{self._env.name}] of kfgcp.toml."
        raise with_grant_command(
            error.amended(hint=hint), self.cloud.grant_command("roles/aiplatform.user")
        )

    def region(self) -> str:
        """Check that pipelines can run in the location."""
        error = self._error_of_list()
        if error is not None:
            raise error.amended(hint=self._location_hint())
        return f"{self.settings.location} offers Vertex AI Pipelines"

    def bucket(self) -> str | Aside:
        """Check that the bucket of the pipeline root exists."""
        root = self.settings.pipeline_root
        if not gs_bucket(root):
            raise ConfigError(
                f"Environment '{self._env.name}' has pipeline_root = \"{root}\", which is not in a"
                " bucket.",
                hint="Write gs://BUCKET/FOLDER.",
            )
        return self.cloud.check_bucket(root)

    def _error_of_list(self) -> BackendError | None:
        """Return why runs cannot be listed, None when they can. Send the request only once."""
        if not self._has_listed:
            self._has_listed = True
            project, location = self.settings.project, self.settings.location
            path = f"v1/projects/{project}/locations/{location}/pipelineJobs"
            try:
                self._vertex.get(path, params={"pageSize": 1, "readMask": "name"})
            except BackendError as error:
                self._list_error = error
        return self._list_error

    def _location_hint(self) -> str:
        return (
            f"Is '{self.settings.location}' a location of Vertex AI, like europe-west4 or"
            f" us-central1? If not, correct it in [env.{self._env.name}] of kfgcp.toml. If it is,"
            " check the connection to the network."
        )


def _is_about_location(error: BackendError) -> bool:
    """Return whether a request was refused because of its location.

    Either there is no such collection, or the service says that it does not support the location.
    """
    if isinstance(error, NotFound):
        return True
    return (
        isinstance(error, Refused) and error.status == 400 and is_about_location(error.explanation)
    )
