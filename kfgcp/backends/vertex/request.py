"""Write a submission as the body of `pipelineJobs.create`.

Field names and limits are those of the REST reference of `projects.locations.pipelineJobs`, v1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.exact_integers import refuse_inexact
from kfgcp.backends.vertex.input_artifacts import input_artifacts
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.errors import Unsupported
from kfgcp.labels import EXPERIMENT, SUBMISSION, label_value
from kfgcp.model import JsonValue
from kfgcp.options import local_flags
from kfgcp.spec import platform
from kfgcp.spec.caching import disable_caching_from, set_caching
from kfgcp.spec.load import Spec

# Schema 2.0.0 has typed values in `parameters`. Later schemas have JSON in `parameterValues`.
OLD_SCHEMA: Final = "2.0.0"
LONGEST_ID: Final = 128
LONGEST_NAME: Final = 128
MOST_LABELS: Final = 64
INT64: Final = range(-(2**63), 2**63)
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")


def job_id(pipeline: str, submission: str) -> str:
    """Return the id of a new job: the name of the pipeline, and a part that is new each time.

    Args:
        pipeline: the name of the pipeline. Characters that ids cannot have become `-`.
        submission: the part that is new.

    Example:
        >>> job_id("Churn model", "abc123")
        'churn-model-abc123'
    """
    name = re.sub(r"[^a-z0-9-]+", "-", pipeline.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"p{name}"
    longest_name = LONGEST_ID - len(submission) - 1
    return f"{name[:longest_name].rstrip('-')}-{submission}"


def job(request: SubmitRequest, settings: VertexSettings, submission: str) -> dict[str, Any]:
    """Return the body of the request that creates a run.

    Args:
        request: the run to start.
        settings: of its environment.
        submission: the label that tells this run from others.

    Raises:
        Unsupported: a label or the name is not as Google needs it, or the run should repeat from a
            task that this service cannot be told to repeat.
        ParamError: a parameter has a number that is too large to be kept exactly.
        SpecError: the spec has such a number.
    """
    name = request.options.name
    if len(name) > LONGEST_NAME:
        raise Unsupported(
            f"The name of the run has {len(name)} characters. Vertex AI accepts at most"
            f" {LONGEST_NAME}.",
            hint="Give it a shorter name, and write the rest as labels: --name, --label.",
        )
    refuse_inexact(request.spec.pipeline_spec, _params_sent_as_doubles(request), "Vertex AI")
    body: dict[str, Any] = {
        "displayName": name or job_id(request.spec.name, submission)[:LONGEST_NAME],
        "pipelineSpec": _pipeline_spec(request),
        "labels": labels(request, submission),
        "runtimeConfig": _runtime_config(request, settings),
        "serviceAccount": settings.service_account,
        "network": settings.network,
        "reservedIpRanges": list(settings.reserved_ip_ranges) or None,
        "preflightValidations": settings.preflight_validations or None,
        "templateUri": request.spec.template,
    }
    if settings.encryption_key:
        body["encryptionSpec"] = {"kmsKeyName": settings.encryption_key}
    if settings.psc_network_attachment:
        body["pscInterfaceConfig"] = {"networkAttachment": settings.psc_network_attachment}
    return {field: value for field, value in body.items() if value is not None}


def labels(request: SubmitRequest, submission: str) -> dict[str, str]:
    """Return the labels of a job: those of the request, its experiment, and the submission's.

    Raises:
        Unsupported: there are too many labels, or Google does not accept one of them.
    """
    job_labels = {
        EXPERIMENT: label_value(request.options.experiment),
        **request.options.labels,
        SUBMISSION: submission,
    }
    if len(job_labels) > MOST_LABELS:
        raise Unsupported(
            f"The run has {len(job_labels)} labels. Vertex AI accepts at most {MOST_LABELS}.",
            hint="Remove some from --label, or from labels in kfgcp.toml.",
        )
    for name, value in job_labels.items():
        _check_label(name, value)
    return job_labels


def _check_label(name: str, value: str) -> None:
    if _LABEL_KEY.fullmatch(name) and _LABEL_VALUE.fullmatch(value):
        return
    hint = (
        "Names and values have at most 63 lowercase letters, digits, _ and -; a name starts with a"
        " letter."
    )
    if label_value(name)[:1].isalpha():
        hint += f" For example: {label_value(name)}={label_value(value)}"
    raise Unsupported(f"Google refuses the label {name}={value}.", hint=hint)


def notes(request: SubmitRequest) -> Iterator[str]:
    """Yield a line for each part of a request that Vertex AI cannot do."""
    cluster_settings = _cluster_settings(request.spec)
    if cluster_settings:
        yield (
            "Vertex AI does not have Kubernetes settings. These are left out:"
            f" {'; '.join(cluster_settings)}"
        )
    flags = local_flags(request.options)
    if flags:
        verb = "is" if len(flags) == 1 else "are"
        yield (
            f"{', '.join(flags)} {verb} for runs on this machine; Vertex AI runs each task in its"
            " own image"
        )


def _cluster_settings(spec: Spec) -> list[str]:
    """Return what a pipeline asks of a Kubernetes cluster, in words."""
    settings = []
    for label, config in platform.executor_configs(spec.platform_spec).items():
        task = label.removeprefix("exec-")
        settings += [f"{setting} of {task}" for setting in config.words()]
    for setting in platform.pipeline_settings(spec.platform_spec).values():
        settings.append(f"{setting} of the pipeline")
    return settings


def _pipeline_spec(request: SubmitRequest) -> dict[str, Any]:
    """Return the spec with the caching that the request asks for.

    Vertex AI cannot repeat a run from a task. Instead, the tasks that must run again do not use the
    cache, and the others have their results from the cache.
    """
    spec = request.spec.pipeline_spec
    if request.options.cache is not None:
        spec = set_caching(spec, enabled=request.options.cache)
    if request.from_task is None:
        return spec
    try:
        return disable_caching_from(spec, request.from_task)
    except ValueError as error:
        raise Unsupported(
            f"Vertex AI cannot repeat a run from {request.from_task}: {error}.",
            hint=(
                "Name a task outside of loops, or repeat the run without --from: the results of"
                " tasks that succeeded come from the cache."
            ),
        ) from None


def _runtime_config(request: SubmitRequest, settings: VertexSettings) -> dict[str, Any]:
    artifacts = input_artifacts(request)
    artifact_names = {artifact.name for artifact in artifacts}
    params = {
        name: value
        for name, value in request.params.items()
        if value is not None and name not in artifact_names
    }
    runtime: dict[str, Any] = {"gcsOutputDirectory": settings.pipeline_root}
    if _has_old_schema(request.spec):
        runtime["parameters"] = _old_values(request.spec, params)
    else:
        runtime["parameterValues"] = params
    if artifacts:
        runtime["inputArtifacts"] = {
            artifact.name: {"artifactId": artifact.artifact_id} for artifact in artifacts
        }
    policy = "fast" if request.options.fail_fast else settings.failure_policy
    if policy is not None:
        runtime["failurePolicy"] = f"PIPELINE_FAILURE_POLICY_FAIL_{policy.upper()}"
    return runtime


def _params_sent_as_doubles(request: SubmitRequest) -> dict[str, JsonValue]:
    """Return the parameters whose numbers the service keeps as doubles.

    In schema 2.0.0 an integer of 64 bits is sent as `intValue`, and lists and structs are sent as
    JSON text. Only larger integers remain.
    """
    if not _has_old_schema(request.spec):
        return dict(request.params)
    return {
        name: value
        for name, value in request.params.items()
        if isinstance(value, int) and value not in INT64
    }


def _has_old_schema(spec: Spec) -> bool:
    return spec.pipeline_spec.get("schemaVersion") == OLD_SCHEMA


def _old_values(spec: Spec, params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return parameters as schema 2.0.0 has them: numbers and text; other values as JSON text."""
    values: dict[str, JsonValue] = {}
    for name, value in params.items():
        kind = spec.params[name].type
        if kind == "NUMBER_INTEGER":
            # Proto JSON has integers of 64 bits as text.
            values[name] = {"intValue": str(value)}
        elif kind == "NUMBER_DOUBLE":
            values[name] = {"doubleValue": value}
        else:
            values[name] = {"stringValue": value if isinstance(value, str) else json.dumps(value)}
    return values
