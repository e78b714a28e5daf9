"""Which Kubeflow Pipelines a server is, and what of a pipeline it cannot run.

`GET apis/v2beta1/healthz` answers with `tag_name`, which whoever built the server sets and which is
`unknown` otherwise (backend/src/apiserver/main.go); the UI in front of it says `apiServerTagName`.
It is asked once, and only about a pipeline for which the version makes a difference. A server that
does not tell is taken for a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from kfgcp.backends.kubeflow import features
from kfgcp.backends.kubeflow.features import OLDEST, Lack, text_of, version_of
from kfgcp.backends.kubeflow.sites import Version
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
NO_TASKS: Final = (
    "the API server has no tasks of this run, and ML Metadata, where older servers keep tasks, does"
    " not answer."
)
"""Why a run has no tasks on a server that `keeps_tasks`."""
FIRST_SDK: Final = (2, 14)
"""The first release of which the server and kfp have the same number."""
_TAGS: Final = ("apiServerTagName", "tag_name")


class Server:
    """The server behind an address."""

    def __init__(self, http: ServiceClient) -> None:
        self._http = http
        self._version: Version | None = None
        self._asked = False
        self._keeps_tasks: bool | None = None

    @property
    def version(self) -> Version | None:
        """Its version, None when it does not tell.

        Raises:
            Unsupported: it is older than the API that is spoken here.
            Unreachable, AuthError: it does not answer.
        """
        if not self._asked:
            self._version = self._ask()
            self._asked = True
        return self._version

    def keeps_tasks(self, namespace: str) -> bool:
        """Return whether the API server keeps tasks and artifacts itself, as 3.0 does instead of ML
        Metadata.

        Only such a server has an artifacts API
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
                return False
        return self._keeps_tasks

    def refuse(self, spec: Spec) -> None:
        """Passes a pipeline that the server can run.

        Raises:
            Unsupported: it cannot, or is too old altogether.
        """
        refused = [lack for lack in features.used(spec) if lack.refused]
        version = self._version_for(refused)
        lacking = [lack for lack in refused if lack.is_of(version)]
        if lacking:
            raise _refusal(lacking, version)

    def notes(self, spec: Spec) -> Iterator[str]:
        """What becomes of the rest, a line each."""
        used = [lack for lack in features.used(spec) if not lack.for_check]
        version = self._version_for(used)
        for lack in used:
            if lack.is_of(version) and not lack.refused:
                yield str(lack)
        if version is None and (versioned := [lack for lack in used if lack.since]):
            newest = max(versioned, key=lambda lack: lack.since or ())
            yield (
                "the server does not tell its version, so kfgcp assumes the newest one:"
                f" {newest.task or 'the pipeline'} {newest.what}, which needs"
                f" {text_of(newest.since or ())}"
            )

    def explain(self, refused: Refused) -> Refused:
        """Return the refusal of a run; for a pipeline that the server cannot read or compile with
        its version."""
        if refused.remedy is not Remedy.RECOMPILE:
            return refused
        with suppress(BackendError):
            if version := self.version:
                return refused.amended(
                    hint=f"This server is {text_of(version)}. {_advice(version)}"
                )
        return refused

    def _version_for(self, used: list[Lack]) -> Version | None:
        return self.version if any(lack.depends_on_version for lack in used) else None

    def _ask(self) -> Version | None:
        try:
            said = self._http.get(HEALTH)
        except NotFound:
            raise too_old(self._http.get(OLD_HEALTH)) from None
        except (Unreachable, AuthError):
            raise
        except BackendError:
            return None
        version = _version(said)
        if version is not None and version < OLDEST:
            raise too_old(said)
        return version


def too_old(said: dict[str, Any]) -> Unsupported:
    """The error about a server without the API v2beta1. said: by its healthz."""
    version = _version(said)
    found = f"Kubeflow Pipelines {text_of(version)}" if version else "a Kubeflow Pipelines"
    return Unsupported(
        f"The server is {found} with the API v1beta1 only; kfgcp needs 2.0 or newer.",
        hint="Upgrade the server: https://www.kubeflow.org/docs/components/pipelines/operator-guides/installation/",
    )


def _version(said: dict[str, Any]) -> Version | None:
    return next((found for tag in _TAGS if (found := version_of(said.get(tag))) is not None), None)


def _advice(version: Version) -> str:
    """Return what to do about a pipeline that a server cannot read. Since 2.14 kfp has the versions
    of the server."""
    if version < FIRST_SDK:
        return "Compile the pipeline with an older kfp: pip install 'kfp<2.14'"
    return (
        "Compile the pipeline with the kfp of that release: pip install"
        f" 'kfp=={version[0]}.{version[1]}.*'"
    )


def _refusal(lacking: list[Lack], version: Version | None) -> Unsupported:
    first, *others = map(str, lacking)
    found = f" This server is {text_of(version)}." if version is not None else ""
    more = f" Also: {'; '.join(others)}." if others else ""
    old = all(lack.since for lack in lacking)
    hint = "Remove that from the pipeline, or run it on Vertex AI: --env NAME"
    if old:
        hint = "Upgrade the server, or remove that from the pipeline."
    return Unsupported(f"{first[0].upper()}{first[1:]}.{found}{more}", hint=hint)
