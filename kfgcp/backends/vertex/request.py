"""A submission as the body of `pipelineJobs.create`.

Field names and limits are those of the REST reference of `projects.locations.pipelineJobs`, v1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.exact_integers import refuse_inexact
from kfgcp.backends.vertex.input_artifacts import input_artifacts
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.errors import Unsupported
from kfgcp.labels import EXPERIMENT, SUBMISSION, label_value
from kfgcp.options import local_flags
from kfgcp.spec import platform
from kfgcp.spec.caching import disable_caching_from, set_caching
from kfgcp.spec.load import Spec

OLD_SCHEMA: Final = "2.0.0"
LONGEST_ID: Final = 128
LONGEST_NAME: Final = 128
MOST_LABELS: Final = 64
INT64: Final = range(-(2**63), 2**63)
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")


def job_id(pipeline: str, submission: str) -> str:
    """The id of a new job: the pipeline's name, and what tells this submission apart."""
    name = re.sub(r"[^a-z0-9-]+", "-", pipeline.lower()).strip("-")
    name = name if name[:1].isalpha() else f"p{name}"
    return f"{name[: LONGEST_ID - len(submission) - 1].rstrip('-')}-{submission}"


def job(request: SubmitRequest, settings: VertexSettings, submission: str) -> dict[str, Any]:
    """The body of the request that makes a run.

    Raises:
        Unsupported: a label or the name is not as Google wants it.
        ParamError: a number is too large to be kept exactly.
        SpecError: so is one in the spec.
        Unsupported: it repeats from a task that this service cannot be told to repeat.
    """
    if len(request.options.name) > LONGEST_NAME:
        raise Unsupported(
            f"The run's name has {len(request.options.name)} characters; Vertex AI takes"
            f" {LONGEST_NAME}.",
            hint="Give it a shorter one, and the rest as labels: --name, --label.",
        )
    refuse_inexact(request.spec.pipeline_spec, _sent_as_doubles(request), "Vertex AI")
    body: dict[str, Any] = {
        "displayName": request.options.name or job_id(request.spec.name, submission)[:LONGEST_NAME],
        "pipelineSpec": _spec(request),
        "labels": labels(request, submission),
        "runtimeConfig": _runtime(request, settings),
        "serviceAccount": settings.service_account,
        "network": settings.network,
        "reservedIpRanges": list(settings.reserved_ip_ranges) or None,
        "preflightValidations": settings.preflight_validations or None,
    }
    if settings.encryption_key:
        body["encryptionSpec"] = {"kmsKeyName": settings.encryption_key}
    if settings.psc_network_attachment:
        body["pscInterfaceConfig"] = {"networkAttachment": settings.psc_network_attachment}
    if request.spec.template is not None:
        body["templateUri"] = request.spec.template
    return {name: value for name, value in body.items() if value is not None}


def labels(request: SubmitRequest, submission: str) -> dict[str, str]:
    """The labels of the job: those of the request, its experiment, and the submission's."""
    found = {
        EXPERIMENT: label_value(request.options.experiment),
        **request.options.labels,
        SUBMISSION: submission,
    }
    if len(found) > MOST_LABELS:
        raise Unsupported(
            f"There are {len(found)} labels; Vertex AI takes {MOST_LABELS}.",
            hint="Leave some out of --label, or of labels in kfgcp.toml.",
        )
    for name, value in found.items():
        if not _LABEL_KEY.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            raise Unsupported(
                f"Google refuses the label {name}={value}.",
                hint=(
                    "Names and values have at most 63 lowercase letters, digits, _ and -; a name"
                    " starts with a letter."
                )
                + (
                    f" For example: {label_value(name)}={label_value(value)}"
                    if label_value(name)[:1].isalpha()
                    else ""
                ),
            )
    return found


def notes(request: SubmitRequest) -> Iterator[str]:
    """What Vertex AI cannot be told, a line each."""
    spec = request.spec
    words = [
        f"{word} of {label.removeprefix('exec-')}"
        for label, config in platform.executor_configs(spec.platform_spec).items()
        for word in config.words()
    ]
    words += [
        f"{word} of the pipeline"
        for word in platform.pipeline_settings(spec.platform_spec).values()
    ]
    if words:
        yield f"Vertex AI takes no Kubernetes settings; left out: {'; '.join(words)}"
    if local := local_flags(request.options):
        yield (
            f"{', '.join(local)} is for runs on this machine; Vertex AI runs each task in its own"
            " image"
        )


def _spec(request: SubmitRequest) -> dict[str, Any]:
    """The spec with the request's caching; what of a repeated run must run again does not use the
    cache."""
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
                "Name a task outside of loops, or repeat it without --from: what succeeded comes"
                " from the cache."
            ),
        ) from None


def _runtime(request: SubmitRequest, settings: VertexSettings) -> dict[str, Any]:
    fast = request.options.fail_fast or settings.failure_policy == "fast"
    artifacts = input_artifacts(request)
    given = {artifact.name for artifact in artifacts}
    values = {
        name: value
        for name, value in request.params.items()
        if value is not None and name not in given
    }
    runtime: dict[str, Any] = {"gcsOutputDirectory": settings.pipeline_root}
    if request.spec.pipeline_spec.get("schemaVersion") == OLD_SCHEMA:
        runtime["parameters"] = {
            name: _old_value(request.spec, name, value) for name, value in values.items()
        }
    else:
        runtime["parameterValues"] = values
    if artifacts:
        runtime["inputArtifacts"] = {
            artifact.name: {"artifactId": artifact.artifact_id} for artifact in artifacts
        }
    if fast or settings.failure_policy is not None:
        runtime["failurePolicy"] = f"PIPELINE_FAILURE_POLICY_FAIL_{'FAST' if fast else 'SLOW'}"
    return runtime


def _sent_as_doubles(request: SubmitRequest) -> dict[str, Any]:
    """Return the parameters whose numbers the service keeps as doubles.

    In schema 2.0.0 an integer of 64 bits is sent as `intValue`, and lists and structs as their JSON
    text.
    """
    if request.spec.pipeline_spec.get("schemaVersion") != OLD_SCHEMA:
        return dict(request.params)
    return {
        name: value
        for name, value in request.params.items()
        if isinstance(value, int) and value not in INT64
    }


def _old_value(spec: Spec, name: str, value: Any) -> dict[str, Any]:
    """A Value of schema 2.0.0, which knows numbers and text: others are their JSON."""
    kind = spec.params[name].type
    if kind == "NUMBER_INTEGER":
        return {"intValue": str(value)}
    if kind == "NUMBER_DOUBLE":
        return {"doubleValue": value}
    return {"stringValue": value if isinstance(value, str) else json.dumps(value)}
