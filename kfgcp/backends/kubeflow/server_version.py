"""Find the release of a server, and the features of a pipeline that the server cannot run.

`GET apis/v2beta1/healthz` answers with the release in `tag_name`. Whoever builds the server sets
this field. Otherwise its value is `unknown` (backend/src/apiserver/main.go). In answers of the UI
server, the name of the field is `apiServerTagName`. kfgcp reads the release once, and only for a
pipeline with a feature that depends on the release. When the release is unknown, kfgcp assumes the
newest one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from kfgcp.backends.kubeflow.features import (
    OLDEST,
    Lack,
    format_version,
    parse_version,
    possible_lacks,
)
from kfgcp.backends.kubeflow.task_contexts import Version
from kfgcp.errors import (
    AuthError,
    BackendError,
    NotFound,
    Refused,
    Remedy,
    Unreachable,
    Unsupported,
)
from kfgcp.services.client import ServiceClient
from kfgcp.spec.load import Spec

HEALTH: Final = "apis/v2beta1/healthz"
OLD_HEALTH: Final = "apis/v1beta1/healthz"
ARTIFACTS: Final = "apis/v2beta1/artifacts"

# The reason why a run has no tasks, on a server for which `keeps_tasks` is true.
NO_TASKS: Final = (
    "the API server has no tasks of this run, and ML Metadata, where older servers keep tasks, does"
    " not answer."
)

# From this release on, the server and kfp have the same version numbers.
FIRST_SDK: Final = (2, 14)

# The fields with the release, in the answers of the UI server and of the API server.
VERSION_KEYS: Final = ("apiServerTagName", "tag_name")


class Server:
    """The release of a server, and the features that it supports.

    Args:
        http: the client of the pipelines API.
    """

    def __init__(self, http: ServiceClient) -> None:
        self._http = http
        self._version: Version | None = None
        self._has_version = False
        self._keeps_tasks: bool | None = None

    @property
    def version(self) -> Version | None:
        """The version of the server, None when its answer has no version.

        Raises:
            Unsupported: the server is older than the API v2beta1.
            Unreachable, AuthError: the server does not answer.
        """
        if not self._has_version:
            self._version = self._read_version()
            self._has_version = True
        return self._version

    def keeps_tasks(self, namespace: str) -> bool:
        """Return whether the API server keeps tasks and artifacts itself, instead of ML Metadata.

        Servers of 3.0 do, and only these have an artifacts API
        (tests/recorded/api-3.0-branch/artifacts-list-empty.json). The first call sends a request to
        this API.
        """
        if self._keeps_tasks is None:
            params: dict[str, Any] = {"page_size": 1}
            if namespace:
                params["namespace"] = namespace
            try:
                self._http.exchange("GET", ARTIFACTS, params=params, retries=0).json()
                self._keeps_tasks = True
            except NotFound:
                self._keeps_tasks = False
            except BackendError:
                # An outage says nothing about the server, so the next call asks again.
                return False
        return self._keeps_tasks

    def refuse(self, spec: Spec) -> None:
        """Refuse a pipeline that the server cannot run.

        Raises:
            Unsupported: the server cannot run it, or is older than the API v2beta1.
        """
        refused = [lack for lack in possible_lacks(spec) if lack.is_refused]
        version = self._version_for(refused)
        true_lacks = [lack for lack in refused if lack.is_true_of(version)]
        if true_lacks:
            raise _refusal(true_lacks, version)

    def notes(self, spec: Spec) -> Iterator[str]:
        """Yield a line for each feature that the server ignores or supports differently."""
        lacks = [lack for lack in possible_lacks(spec) if not lack.feature.hidden_before_runs]
        version = self._version_for(lacks)
        for lack in lacks:
            if lack.is_true_of(version) and not lack.is_refused:
                yield str(lack)
        supported_since = [lack for lack in lacks if lack.feature.since]
        if version is None and supported_since:
            newest = max(supported_since, key=lambda lack: lack.feature.since or ())
            yield (
                "the server does not report its version, so kfgcp assumes the newest one:"
                f" {newest.task or 'the pipeline'} {newest.feature.text}, which needs version"
                f" {format_version(newest.feature.since or ())} or newer"
            )

    def explain(self, refused: Refused) -> Refused:
        """Return the error for a run that the server refused.

        When the server cannot read or compile the pipeline, the hint names the server's version.
        """
        if refused.remedy is not Remedy.RECOMPILE:
            return refused
        with suppress(BackendError):
            version = self.version
            if version is not None:
                hint = f"This server is {format_version(version)}. {_recompile_hint(version)}"
                return refused.amended(hint=hint)
        return refused

    def _version_for(self, lacks: Sequence[Lack]) -> Version | None:
        """Return the version of the server. Send no request when no feature depends on it."""
        if any(lack.depends_on_version for lack in lacks):
            return self.version
        return None

    def _read_version(self) -> Version | None:
        """Request the version of the server."""
        try:
            health = self._http.get(HEALTH)
        except NotFound:
            raise too_old(self._http.get(OLD_HEALTH)) from None
        except (Unreachable, AuthError):
            raise
        except BackendError:
            # Another error says nothing about the version.
            return None
        version = _find_version(health)
        if version is not None and version < OLDEST:
            raise too_old(health)
        return version


def too_old(health: Mapping[str, Any]) -> Unsupported:
    """Return the error for a server without the API v2beta1.

    Args:
        health: the answer of the server to a request for healthz.
    """
    version = _find_version(health)
    name = "Kubeflow Pipelines"
    if version is not None:
        name = f"Kubeflow Pipelines {format_version(version)}"
    return Unsupported(
        f"The server is {name}, which has only the API v1beta1; kfgcp needs 2.0 or newer.",
        hint="Upgrade the server: https://www.kubeflow.org/docs/components/pipelines/operator-guides/installation/",
    )


def _find_version(health: Mapping[str, Any]) -> Version | None:
    """Return the version in an answer of healthz, None when the answer has no version."""
    for key in VERSION_KEYS:
        version = parse_version(health.get(key))
        if version is not None:
            return version
    return None


def _recompile_hint(version: Version) -> str:
    if version < FIRST_SDK:
        return "Compile the pipeline with an older kfp: pip install 'kfp<2.14'"
    major, minor = version[:2]
    return (
        f"Compile the pipeline with the kfp of that release: pip install 'kfp=={major}.{minor}.*'"
    )


def _refusal(lacks: Sequence[Lack], version: Version | None) -> Unsupported:
    """Return the error for a pipeline with features that the server lacks."""
    first = str(lacks[0])
    message = f"{first[0].upper()}{first[1:]}."
    if version is not None:
        message += f" This server is {format_version(version)}."
    others = [str(lack) for lack in lacks[1:]]
    if others:
        message += f" Also: {'; '.join(others)}."
    hint = "Remove the feature from the pipeline, or run it on Vertex AI: --env NAME"
    if all(lack.feature.since for lack in lacks):
        hint = "Upgrade the server, or remove the feature from the pipeline."
    return Unsupported(message, hint=hint)
