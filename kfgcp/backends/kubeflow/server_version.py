"""Find the release of a server, and ask the rules what the server cannot run.

`GET apis/v2beta1/healthz` answers with the release in `tag_name`. Whoever builds the server sets
this field. Otherwise its value is `unknown` (backend/src/apiserver/main.go). In answers of the UI
server, the name of the field is `apiServerTagName`. kfgcp reads the release once, and only for a
pipeline to which a rule applies that depends on the release (rules.py). When the release is
unknown, kfgcp assumes the newest one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.kubeflow.rules import kubeflow_rules
from kfgcp.backends.kubeflow.seen_version import remember_version
from kfgcp.backends.kubeflow.server_errors import says_version_is_gone
from kfgcp.backends.service import ServiceRecords
from kfgcp.errors import (
    AuthError,
    BackendError,
    NotFound,
    Refused,
    Remedy,
    Unreachable,
    Unsupported,
)
from kfgcp.options import RunOptions
from kfgcp.rules.before_run import describe, warning_lines
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.rule import Rule, Target, judge
from kfgcp.rules.versions import Version, format_version, parse_version
from kfgcp.services.client import ServiceClient
from kfgcp.spec.load import Spec

# The first version that has the API v2beta1.
OLDEST: Final = (2, 0)

HEALTH: Final = "apis/v2beta1/healthz"
OLD_HEALTH: Final = "apis/v1beta1/healthz"
ARTIFACTS: Final = "apis/v2beta1/artifacts"

# The reason why a run has no tasks, on a server for which `keeps_tasks` is true.
NO_TASKS: Final = (
    "the API server has no tasks of this run, and ML Metadata, which keeps the tasks of older"
    " servers, does not answer."
)

# From this release on, the server and kfp have the same version numbers.
FIRST_SDK: Final = (2, 14)

# The fields with the release, in the answers of the UI server and of the API server.
VERSION_KEYS: Final = ("apiServerTagName", "tag_name")


class Server:
    """The release of a server, and what it cannot run.

    Args:
        http: the client of the pipelines API.
        env: the name of the environment, for messages.
        records: where to remember the version, None for nowhere.
        place: the place of the server in `records`.
    """

    def __init__(
        self,
        http: ServiceClient,
        env: str = "",
        records: ServiceRecords | None = None,
        place: str = "",
    ) -> None:
        self._http = http
        self._env = env
        self._records = records
        self._place = place
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
            if self._records is not None and self._version is not None:
                remember_version(self._records, self._place, self._version)
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

    def refuse(self, request: SubmitRequest) -> None:
        """Refuse a pipeline that the server cannot run.

        Raises:
            Unsupported: the server cannot run it, or is older than the API v2beta1.
        """
        pipeline = PipelineContext(request.sent_spec)
        findings, version = self._judge(Severity.ERROR, pipeline, request)
        if findings:
            raise _refusal(findings, version)

    def notes(self, request: SubmitRequest) -> Iterator[str]:
        """Yield a line for all that the server ignores or does in another way."""
        pipeline = PipelineContext(request.sent_spec)
        findings, version = self._judge(Severity.WARNING, pipeline, request)
        yield from warning_lines(findings)
        if version is None and self._has_version:
            yield from self._notes_about_older_servers(pipeline, request)

    def _judge(
        self, severity: Severity, pipeline: PipelineContext, request: SubmitRequest
    ) -> tuple[Sequence[RuleFinding], Version | None]:
        """Return what the rules of a severity find, and the version of the server.

        The findings that the user ignores are left out.

        The version is requested only when a rule depends on it that finds something for some
        version. Otherwise it is None.
        """
        any_target = self._target(None, request.options)
        rules: list[Rule] = []
        for rule in kubeflow_rules():
            if rule.severity is not severity or rule.id in request.ignored.rules:
                continue
            findings = rule.findings(pipeline, any_target, any_version=True)
            if any(not request.ignored.covers(finding) for finding in findings):
                rules.append(rule)
        version = None
        if any(rule.depends_on_version for rule in rules):
            version = self.version
        target = self._target(version, request.options)
        findings = [
            finding
            for finding in judge(rules, pipeline, target)
            if not request.ignored.covers(finding)
        ]
        return findings, version

    def _notes_about_older_servers(
        self, pipeline: PipelineContext, request: SubmitRequest
    ) -> Iterator[str]:
        """Yield a line for the newest feature of a pipeline that some servers do not have."""
        rules = [rule for rule in kubeflow_rules() if rule.fixed_in is not None]
        target = self._target(None, request.options)
        for rule in sorted(rules, key=lambda rule: rule.fixed_in or (), reverse=True):
            if rule.severity is Severity.NOTE:
                continue
            for finding in rule.findings(pipeline, target, any_version=True):
                if request.ignored.covers(finding):
                    continue
                yield (
                    "the server does not report its version, so kfgcp assumes the newest one. If it"
                    f" is older than {format_version(rule.fixed_in)}: {describe(finding)}"
                )
                return

    def _target(self, version: Version | None, options: RunOptions) -> Target:
        return Target(self._env, "kubeflow", version, options=options)

    def explain(self, refused: Refused, spec: Spec) -> Refused:
        """Return the error for a run that the server refused.

        When the server cannot read or compile the pipeline, the hint names the server's version.
        When the pipeline version was deleted, the message says so.

        Args:
            refused: the error.
            spec: the pipeline of the run.
        """
        if spec.registered is not None and says_version_is_gone(refused.explanation):
            return refused.amended(
                message=f"This version of {spec.name!r} was deleted from Kubeflow Pipelines:"
                f" {spec.registered.address}",
                hint="Push the pipeline again: kfgcp push",
            )
        if refused.remedy is not Remedy.RECOMPILE:
            return refused
        with suppress(BackendError):
            version = self.version
            if version is not None:
                hint = f"This server is {format_version(version)}. {_recompile_hint(version)}"
                return refused.amended(hint=hint)
        return refused

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
        f"The server is {name}, which has only the API v1beta1, but kfgcp needs version 2.0 or"
        " newer.",
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


def _refusal(findings: Sequence[RuleFinding], version: Version | None) -> Unsupported:
    """Return the error for a pipeline that the server cannot run."""
    first = findings[0].message
    message = f"{first[0].upper()}{first[1:]}."
    if version is not None:
        message += f" This server is {format_version(version)}."
    others = [finding.message for finding in findings[1:]]
    if others:
        message += f" Also: {'; '.join(others)}."
    return Unsupported(message, hint=findings[0].hint)
