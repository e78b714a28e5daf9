"""The checks of `kfgcp doctor` for Vertex AI. They only read, and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from kfgcp.backends.vertex.addresses import address
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.backends.vertex.versions import VertexVersions
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
    """Return the checks, in the order in which a submission uses the things that they check.

    Args:
        env: an environment that has all required settings.
        images: the container images of the pipeline that will run, None without a pipeline.
    """
    vertex = _VertexChecks(env)
    settings = vertex.settings
    cloud = vertex.cloud
    checks: list[Check] = [
        ("service", vertex.check_service),
        ("clock", vertex.check_clock),
        ("credentials", vertex.check_credentials),
        ("api", vertex.check_api),
        ("region", vertex.check_region),
        ("bucket", vertex.check_bucket),
        ("runner", partial(cloud.check_bucket_access_of_runs, settings.pipeline_root)),
        ("service_account", cloud.check_act_as),
        ("images", partial(cloud.check_images, images)),
    ]
    if settings.pipeline_registry:
        checks.append(("registry", vertex.check_registry))
    checks.append(("quota", partial(cloud.check_quota, settings.location)))
    checks.append(("logs", cloud.check_logs))
    return checks


class _VertexChecks:
    """The checks of Vertex AI itself, in the project and location of an environment.

    Each check returns what it found in one line, or raises an error with a hint.

    Attributes:
        settings: the settings of the environment.
        cloud: the checks of the other Google Cloud services that a run uses.
    """

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.settings = VertexSettings.of(env.settings)
        tokens = token_source(env)
        self._tokens = tokens
        vertex_address = self.settings.api_endpoint or address(self.settings.location)
        self._probe = HostProbe(vertex_address, "")
        self._vertex = ServiceClient(vertex_address, tokens, service="Vertex AI", **CALL_LIMITS)
        # Two checks need the result of the same request, so its result is kept here.
        self._has_listed = False
        self._list_error: BackendError | None = None
        self.cloud = Cloud(env, tokens)

    def check_service(self) -> str:
        """Check that the host of the location answers, and that its certificate is trusted."""
        try:
            self._probe.response()
        except TransportError as failure:
            hint = ""
            # Google's hosts contain the location. So a wrong location is an unknown host.
            if failure.unknown_name and not self.settings.api_endpoint:
                hint = self._location_hint()
            raise unreachable(self._probe.host, failure, hint) from None
        return f"{self._probe.host} answers"

    def check_clock(self) -> str | Aside:
        """Check that the clocks of this machine and of the service agree."""
        return clock_skew(self._probe.response().headers)

    def check_credentials(self) -> str | Aside:
        """Check that this machine has a token, and return the account of the token."""
        finding, account = describe_login(self._env, self._tokens.get(), is_google_token=True)
        self.cloud.account = account
        return finding

    def check_api(self) -> str:
        """Check that the project has enabled the API, and that the user may list runs."""
        error = self._list_runs()
        if error is None or _is_about_location(error):
            return f"enabled, and you may list the runs of {self.settings.project}"
        if not isinstance(error, Refused):
            raise error
        hint = error.hint or f"Check project and location in [env.{self._env.name}] of kfgcp.toml."
        raise with_grant_command(
            error.amended(hint=hint), self.cloud.grant_command("roles/aiplatform.user")
        )

    def check_region(self) -> str:
        """Check that pipelines can run in the location."""
        error = self._list_runs()
        if error is not None:
            raise error.amended(hint=self._location_hint())
        return f"{self.settings.location} offers Vertex AI Pipelines"

    def check_bucket(self) -> str | Aside:
        """Check that the bucket of the pipeline root exists."""
        root = self.settings.pipeline_root
        if not gs_bucket(root):
            raise ConfigError(
                f"Environment '{self._env.name}' has pipeline_root = \"{root}\", which is not in a"
                " bucket.",
                hint="Write gs://BUCKET/FOLDER.",
            )
        return self.cloud.check_bucket(root)

    def check_registry(self) -> str:
        """Check that the repository for versions of pipelines exists, and stores pipelines."""
        registry = VertexVersions(self._env, seconds=CALL_LIMITS["seconds"])
        registry.check()
        return f"{registry.registry} stores pipelines"

    def _list_runs(self) -> BackendError | None:
        """List one run, and return the error of the request, None when it succeeds.

        Later calls return the result of the first call.
        """
        if self._has_listed:
            return self._list_error
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
            f"Check that '{self.settings.location}' is a location of Vertex AI, such as"
            " europe-west4 or us-central1. If it is wrong, correct location in"
            f" [env.{self._env.name}] of kfgcp.toml. If it is right, check your network"
            " connection."
        )


def _is_about_location(error: BackendError) -> bool:
    """Return whether Vertex AI refused a request because of its location.

    The answer is then 404, or 400 with a message about the location.
    """
    if isinstance(error, NotFound):
        return True
    if not isinstance(error, Refused) or error.status != 400:
        return False
    return is_about_location(error.explanation)
