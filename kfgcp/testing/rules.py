"""Check a pipeline job as Vertex AI does when it creates one.

The rules of job ids, labels and display names come from the reference of
`projects.locations.pipelineJobs`. The service also checks parameters at creation: each required
parameter has a value, no parameter is unknown, and each value has the declared type. Nothing
confirms the limit of the size of a request, the order of the checks, and the messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.errors import ParamError, SpecError
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec, from_documents
from kfgcp.spec.params import declared_params, resolve
from kfgcp.testing.google import denied, invalid

# The pattern that PipelineJob of google-cloud-aiplatform checks.
JOB_ID: Final = re.compile(r"[a-z][-a-z0-9]{0,127}")
# Google's rules for labels, which the comment of PipelineJob.labels in aiplatform_v1 refers to.
MAX_LABELS: Final = 64
# PipelineJob.display_name of aiplatform_v1.
MAX_DISPLAY_NAME: Final = 128
# Nothing confirms this limit of 4 MiB.
MAX_REQUEST_BYTES: Final = 4 * 2**20
# Google's rules for labels say 63 characters. The comment of PipelineJob.labels says 64.
_LABEL_KEY: Final = re.compile(r"[a-z][-_a-z0-9]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[-_a-z0-9]{0,63}")
_NETWORK: Final = re.compile(r"projects/[^/]+/global/networks/[^/]+")
_KMS_KEY: Final = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that the service accepts. params: all parameters, with defaults and checked types."""

    spec: Spec
    params: JsonObject


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The resources that a job may use.

    Attributes:
        has_bucket: returns whether a bucket exists, from its name.
        may_act_as: returns whether jobs may run as a service account.
        artifact_uri: returns the URI of an artifact in the metadata store `default`, from its id.
            Returns None if the artifact does not exist.
    """

    has_bucket: Callable[[str], bool]
    may_act_as: Callable[[str], bool]
    artifact_uri: Callable[[str], str | None] = lambda artifact_id: None


def check_job(job: JsonObject, surroundings: Surroundings) -> Submission:
    """Check a job, and return its pipeline and parameters.

    Args:
        job: the body of the job, from `protos.read_message`.
        surroundings: the resources that the job may use.

    Raises:
        GoogleError: 400 or 403, the service would refuse the job.
    """
    check_display_name(job.get("displayName", ""), "pipeline_job.display_name")
    check_labels(job.get("labels") or {}, "pipeline_job.labels")
    runtime = job.get("runtimeConfig") or {}
    _check_output_directory(runtime.get("gcsOutputDirectory") or "", surroundings)
    _check_resource_names(job)
    account = job.get("serviceAccount", "")
    if account and not surroundings.may_act_as(account):
        raise denied(
            f"You do not have permission to act as service_account: {account}. (or it may not"
            " exist)."
        )
    spec = _load_spec(job.get("pipelineSpec"))
    artifact_uris = _read_input_artifacts(spec, runtime, surroundings)
    return Submission(spec, _read_params(spec, runtime, artifact_uris))


def check_job_id(job_id: str) -> None:
    """Raise 400 for an id that does not have the documented form."""
    if not JOB_ID.fullmatch(job_id):
        raise invalid(
            f'Invalid pipeline_job_id "{job_id}": it must match {JOB_ID.pattern}.',
            "pipeline_job_id",
        )


def check_display_name(name: str, field: str) -> None:
    """Raise 400 for a display name that is too long. field: its path, for the error."""
    if len(name) > MAX_DISPLAY_NAME:
        raise invalid(
            f"The display name has {len(name)} characters, at most {MAX_DISPLAY_NAME} are allowed.",
            field,
        )


def check_labels(labels: Mapping[str, str], field: str) -> None:
    """Raise 400 for labels that the service refuses. field: their path, for the error."""
    if len(labels) > MAX_LABELS:
        raise invalid(f"There are {len(labels)} labels, at most {MAX_LABELS} are allowed.", field)
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise invalid(
                f'Invalid label key "{key}": it must start with a lowercase letter and have at most'
                " 63 lowercase letters, digits, underscores and dashes.",
                field,
            )
        if not _LABEL_VALUE.fullmatch(value):
            raise invalid(
                f'Invalid label value "{value}" of "{key}": it may have at most 63 lowercase'
                " letters, digits, underscores and dashes.",
                field,
            )


def _check_output_directory(directory: str, surroundings: Surroundings) -> None:
    field = "pipeline_job.runtime_config.gcs_output_directory"
    scheme, _, path = directory.partition("://")
    bucket = path.partition("/")[0]
    if scheme != "gs" or not bucket:
        raise invalid(
            f'Invalid gcs_output_directory "{directory}": it must be gs://BUCKET or a folder below'
            " one.",
            field,
        )
    if not surroundings.has_bucket(bucket):
        raise invalid(
            f"The bucket gs://{bucket} of the gcs_output_directory does not exist.", field
        )


def _check_resource_names(job: JsonObject) -> None:
    """Check the form of the names of the network and of the key, but not that they exist."""
    network = job.get("network", "")
    if network and not _NETWORK.fullmatch(network):
        raise invalid(f'Invalid network "{network}".', "pipeline_job.network")
    key = (job.get("encryptionSpec") or {}).get("kmsKeyName", "")
    if key and not _KMS_KEY.fullmatch(key):
        raise invalid(f'Invalid kms_key_name "{key}".', "pipeline_job.encryption_spec.kms_key_name")


def _load_spec(document: object) -> Spec:
    if not document:
        raise invalid("pipeline_spec is required.", "pipeline_job.pipeline_spec")
    try:
        return from_documents([document], "pipeline_spec")
    except SpecError as error:
        raise invalid(
            f"Invalid pipeline_spec: {error.message}", "pipeline_job.pipeline_spec"
        ) from None


def _read_input_artifacts(
    spec: Spec, runtime: JsonObject, surroundings: Surroundings
) -> dict[str, str]:
    """Return the URI of each input artifact, by the name of the input.

    `runtimeConfig.inputArtifacts` has the id of each artifact (RuntimeConfig.InputArtifact of
    aiplatform_v1).
    """
    field = "pipeline_job.runtime_config.input_artifacts"
    definitions = declared_params(spec.pipeline_spec)
    uris = {}
    for name, artifact in (runtime.get("inputArtifacts") or {}).items():
        if name not in definitions or not definitions[name].is_artifact:
            raise invalid(f"The pipeline has no input artifact {name}.", field)
        artifact_id = str(artifact.get("artifactId") or "")
        uri = surroundings.artifact_uri(artifact_id)
        if uri is None:
            raise invalid(f"There is no artifact {artifact_id} for the input {name}.", field)
        uris[name] = uri
    return uris


def _read_params(spec: Spec, runtime: JsonObject, artifact_uris: Mapping[str, str]) -> JsonObject:
    """Return the values of all inputs of the pipeline, or raise 400. They include defaults."""
    schema_version = spec.pipeline_spec.get("schemaVersion")
    # RuntimeConfig of aiplatform_v1: `parameters` is for schema version 2.0.0 and earlier,
    # `parameterValues` for later ones.
    if schema_version == "2.0.0":
        used_key, unused_key = "parameters", "parameterValues"
        field = "pipeline_job.runtime_config.parameters"
    else:
        used_key, unused_key = "parameterValues", "parameters"
        field = "pipeline_job.runtime_config.parameter_values"
    if runtime.get(unused_key):
        raise invalid(
            f"runtime_config.{unused_key} is not used by schema version {schema_version}.", field
        )
    definitions = declared_params(spec.pipeline_spec)
    values: dict[str, Any] = {}
    for name, value in (runtime.get(used_key) or {}).items():
        definition = definitions.get(name)
        parameter_type = "" if definition is None else definition.type
        if schema_version == "2.0.0":
            value = _read_value_message(value, parameter_type)
        if definition is not None and definition.is_artifact:
            raise invalid(f"{name} is an artifact, not a parameter.", field)
        values[name] = value
    values |= artifact_uris
    for name, value in values.items():
        parameter_type = definitions[name].type if name in definitions else ""
        if parameter_type == "STRING" and not isinstance(value, str | None):
            raise invalid(
                f"Invalid value of the parameter {name}: it is declared as STRING.", field
            )
        # The values are in a Struct, in which each number is a double.
        is_whole_double = isinstance(value, float) and value.is_integer()
        if parameter_type == "NUMBER_INTEGER" and is_whole_double:
            values[name] = int(value)
    try:
        return resolve(definitions, values)
    except ParamError as error:
        raise invalid(f"Invalid parameters: {error.message}", field) from None


def _read_value_message(message: JsonObject, parameter_type: str) -> Any:
    """Return the content of a message of the type Value, such as {"intValue": "3"}.

    Parameters have this form in schema version 2.0.0. A boolean, a list or a dictionary is JSON in
    a stringValue.
    """
    if "intValue" in message:
        return int(message["intValue"])
    content = next(iter(message.values()), None)
    if parameter_type in ("BOOLEAN", "LIST", "STRUCT") and isinstance(content, str):
        # Text that is not JSON stays text. Later, the check of its type refuses it.
        with suppress(ValueError):
            return json.loads(content)
    return content
