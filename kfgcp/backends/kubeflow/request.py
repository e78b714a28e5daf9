"""Convert a submission to the body of `POST /apis/v2beta1/runs`, with labels.

The service has no labels. So kfgcp writes labels into the description of the run. People read the
description, too, and the service can search it. When the user gives no name, the name of the run
contains the id of the submission.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.exact_integers import refuse_inexact
from kfgcp.backends.kubeflow.limits import is_too_deep
from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.errors import Unsupported
from kfgcp.labels import EXPERIMENT, SUBMISSION
from kfgcp.options import local_flags
from kfgcp.spec.caching import disable_caching_from, set_caching
from kfgcp.spec.documents import parse_json
from kfgcp.spec.json_values import JsonObject

# The longest description of a run, in characters: the length of the column in `run_details`.
MAX_LENGTH: Final = 255

# The beginning of the line with labels in a description.
_MARK: Final = "kfgcp: "
_DESCRIPTION: Final = re.compile(rf"^{_MARK}(?P<labels>\{{.*\}})\s*$", re.MULTILINE)

# Labels that follow from the spec of the run, or from its experiment. They are left out in this
# order when the description is too long.
_REDUNDANT_LABELS: Final = ("version", "pipeline", EXPERIMENT)


def run_body(
    request: SubmitRequest, settings: KubeflowSettings, experiment_id: str, submission: str
) -> dict[str, Any]:
    """Return the body of the request that creates a run.

    Args:
        request: the run to start.
        settings: the settings of the environment.
        experiment_id: the server's id of the experiment.
        submission: the id of this submission.

    Raises:
        Unsupported: the run cannot be repeated from the task, the labels are too long, a parameter
            is nested too deeply, or a parameter is an artifact.
        ParamError: the server would change an integer of the parameters.
        SpecError: the server would change an integer of the spec.
    """
    pipeline = _pipeline_source(request)
    refuse_inexact(request.spec.pipeline_spec, request.params, SERVICE)
    params = {name: value for name, value in request.params.items() if value is not None}
    _refuse_artifacts(request, params)
    _refuse_deep_values(params)
    runtime_config: dict[str, Any] = {"parameters": params}
    if settings.pipeline_root:
        runtime_config["pipeline_root"] = settings.pipeline_root
    name = request.options.name or f"{request.spec.name}-{submission}"
    all_labels = {EXPERIMENT: request.options.experiment, **labels(request, submission)}
    body = {
        "display_name": name,
        "description": format_description(all_labels),
        "experiment_id": experiment_id,
        **pipeline,
        "runtime_config": runtime_config,
    }
    if settings.service_account is not None:
        body["service_account"] = settings.service_account
    return body


def labels(request: SubmitRequest, submission: str) -> dict[str, str]:
    """Return the labels of a request, with the label of the submission."""
    return {**request.options.labels, SUBMISSION: submission}


def notes(request: SubmitRequest) -> Iterator[str]:
    """Yield a line for each part of a request that Kubeflow Pipelines ignores."""
    flags = local_flags(request.options)
    if flags:
        pronoun = "it" if len(flags) == 1 else "them"
        yield f"Kubeflow ignores {', '.join(flags)}: only runs on this machine use {pronoun}"
    if request.spec.registered is not None and _changes_caching(request):
        yield (
            "the run shows no pipeline version in Kubeflow: its caching differs from the version,"
            " so kfgcp sends the pipeline itself"
        )


# -- labels in the description


def format_description(run_labels: Mapping[str, str]) -> str:
    """Return the description of a run that contains its labels.

    When the description is too long, labels that follow from the run itself are left out.

    Raises:
        Unsupported: the description with the other labels is still too long.

    Example:
        >>> format_description({"team": "vision"})
        'kfgcp: {"team":"vision"}'
    """
    # When the answer of the server was lost, kfgcp finds the run by its submission label. So this
    # label comes first.
    submission_label = {name: value for name, value in run_labels.items() if name == SUBMISSION}
    ordered = {**submission_label, **run_labels}
    text = format_labels_line(ordered)
    for name in _REDUNDANT_LABELS:
        if len(text) <= MAX_LENGTH:
            break
        ordered.pop(name, None)
        text = format_labels_line(ordered)
    if len(text) <= MAX_LENGTH:
        return text
    raise Unsupported(
        f"The labels of the run and of kfgcp together take {len(text)} characters; {SERVICE}"
        f" keeps at most {MAX_LENGTH}.",
        hint="Give the run fewer labels, or shorter ones: --label, and labels in kfgcp.toml.",
    )


def format_labels_line(labels: Mapping[str, str]) -> str:
    """Return the line with labels of a description, of any length.

    Example:
        >>> format_labels_line({"kfgcp-project": "churn"})
        'kfgcp: {"kfgcp-project":"churn"}'
    """
    return _MARK + _compact_json(labels)


def parse_description(text: object) -> dict[str, str]:
    """Return the labels in a description, empty when kfgcp did not write the description.

    Example:
        >>> parse_description('Written by people.\\nkfgcp: {"team":"vision"}')
        {'team': 'vision'}
    """
    match = _DESCRIPTION.search(text) if isinstance(text, str) else None
    if match is None:
        return {}
    try:
        values = parse_json(match["labels"])
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {str(name): str(value) for name, value in values.items()}


def format_label_part(name: str, value: str, *, is_prefix: bool = False) -> str | None:
    """Return the text of a label in a description, for a filter.

    Return None when the description possibly lacks the label (see `_REDUNDANT_LABELS`), or when a
    database cannot search for the text. A text with a backslash cannot be searched for, because
    `LIKE` treats backslashes specially.

    Args:
        name: the name of the label.
        value: the value of the label, or the beginning of the value.
        is_prefix: whether `value` is only the beginning of the value.
    """
    part = _compact_json({name: value}).removeprefix("{").removesuffix("}")
    if name in _REDUNDANT_LABELS or "\\" in part:
        return None
    # The last character of the part is the quote at the end of the value.
    return part[:-1] if is_prefix else part


def _compact_json(run_labels: Mapping[str, str]) -> str:
    return json.dumps(run_labels, ensure_ascii=False, separators=(",", ":"))


# -- the spec


def _pipeline_source(request: SubmitRequest) -> JsonObject:
    """Return the field of the body that names or contains the pipeline.

    A pipeline of the registry is sent as the ids of its version. When the request changes the
    caching, the changed pipeline itself is sent, because a run of a version cannot change it.
    """
    registered = request.spec.registered
    if registered is None or _changes_caching(request):
        return {"pipeline_spec": _pipeline_spec(request)}
    pipeline_id, _, version_id = registered.ref.partition("/")
    reference = {"pipeline_id": pipeline_id, "pipeline_version_id": version_id}
    return {"pipeline_version_reference": reference}


def _changes_caching(request: SubmitRequest) -> bool:
    return request.options.cache is not None or request.from_task is not None


def _pipeline_spec(request: SubmitRequest) -> dict[str, Any]:
    """Return the translated spec with the cache settings of the request, and the platform spec."""
    sent = request.sent_spec
    spec = sent.pipeline_spec
    if request.options.cache is not None:
        spec = set_caching(spec, enabled=request.options.cache)
    if request.from_task is not None:
        spec = _without_cache_from(spec, request.from_task)
    if sent.platform_spec is None:
        return spec
    return {"pipeline_spec": spec, "platform_spec": sent.platform_spec}


def _without_cache_from(spec: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return the spec without the cache for a task and all tasks that depend on it."""
    try:
        return disable_caching_from(spec, task)
    except ValueError as error:
        raise Unsupported(
            f"Kubeflow cannot repeat a run from {task}: {error}.",
            hint=(
                "Choose a task outside loops, or repeat the run without --from: then tasks that"
                " succeeded take their results from the cache."
            ),
        ) from None


# -- parameters


def _refuse_artifacts(request: SubmitRequest, params: Mapping[str, Any]) -> None:
    """Refuse input artifacts of the pipeline.

    `RuntimeConfig` of v2beta1 has no field for artifacts.
    """
    artifacts = [
        name for name, param in request.spec.params.items() if param.is_artifact and name in params
    ]
    if artifacts:
        raise Unsupported(
            f"{SERVICE} cannot take input artifacts of a pipeline: {', '.join(artifacts)}.",
            hint=(
                "Pass the URI as a parameter, and import the artifact:"
                " dsl.importer(artifact_uri=...)."
            ),
        )


def _refuse_deep_values(params: Mapping[str, Any]) -> None:
    """Refuse values that are nested too deeply for ML Metadata."""
    for name, value in params.items():
        if is_too_deep(value):
            raise Unsupported(
                f"The parameter {name} is nested too deeply for {SERVICE}: its ML Metadata reads at"
                " most 47 nested lists or 31 nested dicts.",
                hint="Pass the value as JSON text (str), and parse the text in the task.",
            )
