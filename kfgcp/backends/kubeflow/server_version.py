"""Which release of Kubeflow Pipelines a server is, and what of a pipeline it cannot run.

`GET apis/v2beta1/healthz` answers with `tag_name`. The builder of the server sets it; otherwise it
is `unknown` (backend/src/apiserver/main.go). The UI server in front of it calls it
`apiServerTagName`. It is read once, and only for a pipeline for which the version makes a
difference. A server that does not tell its version is taken for the newest one.
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

# Why a run has no tasks on a server that `keeps_tasks`.
NO_TASKS: Final = (
    "the API server has no tasks of this run, and ML Metadata, where older servers keep tasks, does"
    " not answer."
)

# From this release on, the server and kfp have the same version numbers.
FIRST_SDK: Final = (2, 14)
VERSION_KEYS: Final = ("apiServerTagName", "tag_name")


class Server:
    """The server behind an address."""

    def __init__(self, http: ServiceClient) -> None:
        self._http = http
        self._version: Version | None = None
        self._has_version = False
        self._keeps_tasks: bool | None = None

    @property
    def version(self) -> Version | None:
        """Its version, None when it does not tell.

        Raises:
            Unsupported: it is older than the API v2beta1.
            Unreachable, AuthError: it does not answer.
        """
        if not self._has_version:
            self._version = self._read_version()
            self._has_version = True
        return self._version

    def keeps_tasks(self, namespace: str) -> bool:
        """Return whether the API server keeps tasks and artifacts itself.

        Servers of 3.0 do, instead of ML Metadata. Only they have an artifacts API
        (tests/recorded/api-3.0-branch/artifacts-list-empty.json). It is asked once, when ML
        Metadata does not answer.
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
        """Yield what the server does in another way than the pipeline says, a line each."""
        lacks = [lack for lack in possible_lacks(spec) if not lack.feature.hidden_before_runs]
        version = self._version_for(lacks)
        for lack in lacks:
            if lack.is_true_of(version) and not lack.is_refused:
                yield str(lack)
        versioned = [lack for lack in lacks if lack.feature.since]
        if version is None and versioned:
            newest = max(versioned, key=lambda lack: lack.feature.since or ())
            yield (
                "the server does not tell its version, so kfgcp assumes the newest one:"
                f" {newest.task or 'the pipeline'} {newest.feature.text}, which needs version"
                f" {format_version(newest.feature.since or ())} or newer"
            )

    def explain(self, refused: Refused) -> Refused:
        """Return the refusal of a run.

        For a pipeline that the server cannot read or compile, the hint has the server's version.
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
        """Return the version, None without a request when no feature depends on it."""
        if any(lack.depends_on_version for lack in lacks):
            return self.version
        return None

    def _read_version(self) -> Version | None:
        try:
            health = self._http.get(HEALTH)
        except NotFound:
            raise too_old(self._http.get(OLD_HEALTH)) from None
        except (Unreachable, AuthError):
            raise
        except BackendError:
            # Other failures say nothing about the version.
            return None
        version = _version_in(health)
        if version is not None and version < OLDEST:
            raise too_old(health)
        return version


def too_old(health: Mapping[str, Any]) -> Unsupported:
    """Return the error about a server without the API v2beta1.

    Args:
        health: the answer of its healthz.
    """
    version = _version_in(health)
    name = "Kubeflow Pipelines"
    if version is not None:
        name = f"Kubeflow Pipelines {format_version(version)}"
    return Unsupported(
        f"The server is {name}, which has only the API v1beta1; kfgcp needs 2.0 or newer.",
        hint="Upgrade the server: https://www.kubeflow.org/docs/components/pipelines/operator-guides/installation/",
    )


def _version_in(health: Mapping[str, Any]) -> Version | None:
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
    first = str(lacks[0])
    message = f"{first[0].upper()}{first[1:]}."
    if version is not None:
        message += f" This server is {format_version(version)}."
    others = [str(lack) for lack in lacks[1:]]
    if others:
        message += f" Also: {'; '.join(others)}."
    hint = "Remove that from the pipeline, or run it on Vertex AI: --env NAME"
    if all(lack.feature.since for lack in lacks):
        hint = "Upgrade the server, or remove that from the pipeline."
    return Unsupported(message, hint=hint)
