"""Show what a submission would send, without sending anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kfgcp.backends.base import Backend, SubmitRequest, SupportsPreview, capability
from kfgcp.errors import Unsupported
from kfgcp.model import JsonValue
from kfgcp.rules.report import Report
from kfgcp.spec.credentials import has_credentials, mask_credentials
from kfgcp.spec.facts import read_lightweight
from kfgcp.spec.json_values import JsonObject
from kfgcp.tracking.check import CheckOptions, check
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.run_check import require_pinned_images


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a submission would send.

    Attributes:
        env: the name of the environment.
        backend: the name of its backend.
        version: of the pipeline, `sha256:…`.
        request: the body of the request. User names and passwords in addresses are `***`. None when
            a rule says that the pipeline cannot run there: then `submit` sends nothing.
        report: what the rules say about the pipeline in this environment.
    """

    env: str
    backend: str
    version: str
    request: JsonObject | None
    report: Report

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON, in the form that `kfgcp run --dry-run --json` prints."""
        return {
            "env": self.env,
            "backend": self.backend,
            "version": self.version,
            "request": None if self.request is None else dict(self.request),
            "findings": [row.to_dict() for row in self.report.rows],
        }


def dry_run(workspace: OpenProject, backend: Backend, request: SubmitRequest) -> DryRun:
    """Return what a submission would send.

    Args:
        workspace: the project.
        backend: the backend of the environment in the request. It sends nothing.
        request: the run.

    Raises:
        UsageError: an image of the project is not pinned, and the environment is a service.
        Unsupported: the backend would refuse the request for a reason that is not a rule, or it
            cannot show what it would send.
    """
    env = workspace.project.env(request.options.env)
    planner = capability(backend, SupportsPreview)
    if planner is None:
        raise Unsupported(
            f"The backend '{env.backend}' does not support --dry-run.",
            hint="Check the pipeline instead: kfgcp check PIPELINE --env NAME",
        )
    require_pinned_images(workspace.project, request)
    options = CheckOptions(params=_given_params(request), run_options=request.options)
    report = check(workspace.project, request.spec, [env.name], options, workspace.recorded_store)
    body = mask_body(planner.request_body(request)) if report.ok else None
    return DryRun(env.name, env.backend, request.spec.version, body, report)


def mask_body(body: JsonObject) -> JsonObject:
    """Return the body of a request with `***` instead of users and passwords in addresses.

    Example:
        >>> mask_body({"args": ["--index-url", "https://bob:pw@index.acme.example/simple"]})
        {'args': ['--index-url', 'https://***@index.acme.example/simple']}
    """
    sources = [text for text in _package_sources(body) if has_credentials(text)]
    return {name: _mask(value, sources) for name, value in body.items()}


def _mask(value: object, sources: Sequence[str]) -> object:
    if isinstance(value, str):
        return mask_credentials(value, sources)
    if isinstance(value, dict):
        return {name: _mask(item, sources) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mask(item, sources) for item in value]
    return value


def _package_sources(value: object) -> Iterator[str]:
    """Yield the requirements and index addresses of all Python components in a body."""
    if isinstance(value, dict):
        if isinstance(value.get("container"), dict):
            function = read_lightweight(value)
            if function is not None:
                yield from function.requirements
                yield from function.index_options
        for item in value.values():
            yield from _package_sources(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _package_sources(item)


def _given_params(request: SubmitRequest) -> dict[str, JsonValue]:
    return {name: value for name, value in request.params.items() if value is not None}
