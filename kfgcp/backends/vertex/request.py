"""Convert a submission to the body of a `pipelineJobs.create` request.

Field names and limits come from the REST reference of `projects.locations.pipelineJobs`, v1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.exact_integers import refuse_inexact
from kfgcp.backends.vertex.input_artifacts import input_artifacts
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.errors import Unsupported
from kfgcp.labels import EXPERIMENT, SUBMISSION, label_value
from kfgcp.model import JsonValue
from kfgcp.spec.caching import disable_caching_from, set_caching
from kfgcp.spec.load import Spec

if TYPE_CHECKING:
    from kfgcp.rules.findings import RuleFinding

# A job of schema 2.0.0 has typed values in `parameters`. A job of a later schema has JSON values in
# `parameterValues`.
OLD_SCHEMA: Final = "2.0.0"

# The longest id of a job, in characters.
MAX_ID_LENGTH: Final = 128

# The integers that fit into 64 bits.
INT64: Final = range(-(2**63), 2**63)


def job_id(pipeline: str, submission: str) -> str:
    """Return the id of a new job: the name of the pipeline and the id of the submission.

    Args:
        pipeline: the name of the pipeline. Characters that an id cannot have become `-`.
        submission: a random id, different for each submission.

    Example:
        >>> job_id("Churn model", "abc123")
        'churn-model-abc123'
    """
    name = re.sub(r"[^a-z0-9-]+", "-", pipeline.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"p{name}"
    max_name_length = MAX_ID_LENGTH - len(submission) - 1
    return f"{name[:max_name_length].rstrip('-')}-{submission}"


def job(request: SubmitRequest, settings: VertexSettings, submission: str) -> dict[str, Any]:
    """Return the body of the request that creates a run.

    Args:
        request: the run to start.
        settings: the settings of the environment.
        submission: the random id of this submission, which becomes a label of the job.

    Raises:
        Unsupported: a rule says that Vertex AI refuses the run, or it cannot repeat the run from
            the task in `request.from_task`.
        ParamError: a parameter has a number that is too large for Vertex AI to keep exactly.
        SpecError: the spec has a number that is too large for Vertex AI to keep exactly.
    """
    # The rules take time to import, and most commands start no run.
    from kfgcp.rules.before_run import refuse_errors

    # A wrong number is an error of the pipeline or of a parameter, so it comes before the rules.
    refuse_inexact(request.spec.pipeline_spec, _params_that_may_change(request), "Vertex AI")
    refuse_errors(find_problems(request, settings), request.ignored)
    name = request.options.name
    body: dict[str, Any] = {
        "displayName": name or job_id(request.spec.name, submission),
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
    """Return the labels of a job: the experiment, the labels of the request, and the submission."""
    return {
        EXPERIMENT: label_value(request.options.experiment),
        **request.options.labels,
        SUBMISSION: submission,
    }


def find_problems(request: SubmitRequest, settings: VertexSettings) -> list[RuleFinding]:
    """Return what the rules of Vertex AI find in a request."""
    # The rules take time to import, and most commands start no run.
    from kfgcp.backends.vertex.rules import vertex_rules
    from kfgcp.rules.contexts import PipelineContext
    from kfgcp.rules.rule import Target, judge

    target = Target(request.options.env, "vertex", settings=settings, options=request.options)
    return judge(vertex_rules(), PipelineContext(request.sent_spec), target)


def _pipeline_spec(request: SubmitRequest) -> dict[str, Any]:
    """Return the translated spec with the caching that the request asks for.

    Vertex AI cannot repeat a run from a task. So caching is turned off for the tasks that must run
    again. The other tasks get their results from the cache.

    Raises:
        Unsupported: the request repeats from a task for which this is not possible.
    """
    spec = request.sent_spec.pipeline_spec
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
                "Choose a task outside loops, or repeat the run without --from: then tasks that"
                " succeeded take their results from the cache."
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


def _params_that_may_change(request: SubmitRequest) -> dict[str, JsonValue]:
    """Return the parameters whose numbers the service may change.

    The service keeps numbers as doubles, so it may change any of them. Schema 2.0.0 is different:
    lists and structs are sent as JSON text, and integers are sent as `intValue`. Only an integer of
    more than 64 bits does not fit into `intValue`.
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
    """Return parameters in the form of schema 2.0.0: an object with a field for the type.

    A list or a struct becomes JSON text.
    """
    values: dict[str, JsonValue] = {}
    for name, value in params.items():
        kind = spec.params[name].type
        if kind == "NUMBER_INTEGER":
            # The JSON mapping of Protocol Buffers writes integers of 64 bits as text.
            values[name] = {"intValue": str(value)}
        elif kind == "NUMBER_DOUBLE":
            values[name] = {"doubleValue": value}
        else:
            string_value = value if isinstance(value, str) else json.dumps(value)
            values[name] = {"stringValue": string_value}
    return values
