"""What Vertex AI refuses in a pipeline job, as far as its documentation and clients say.

Job ids, labels and display names: the reference of `projects.locations.pipelineJobs`. Parameters: a
value for each that is required, none that is unknown, each of its declared type, as the service
checks them at creation. Not confirmed: the limit of a request's size, the order of the checks, and
the texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.errors import ParamError, SpecError
from kfgcp.spec.load import Spec, from_documents
from kfgcp.spec.params import declared_params, resolve
from kfgcp.testing.google import denied, invalid

JOB_ID: Final = re.compile(r"[a-z][-a-z0-9]{0,127}")
MAX_LABELS: Final = 64
MAX_DISPLAY_NAME: Final = 128
MAX_REQUEST_BYTES: Final = 4 * 2**20
_LABEL_KEY: Final = re.compile(r"[a-z][-_a-z0-9]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[-_a-z0-9]{0,63}")
_NETWORK: Final = re.compile(r"projects/[^/]+/global/networks/[^/]+")
_KMS_KEY: Final = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that was accepted. params: complete and typed."""

    spec: Spec
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a job may use.

    Attributes:
        has_bucket: whether there is a bucket of that name.
        may_act_as: whether jobs may run as an account.
        artifact_uri: the URI of an artifact in the metadata store `default` by its id, None when
            there is none.
    """

    has_bucket: Callable[[str], bool]
    may_act_as: Callable[[str], bool]
    artifact_uri: Callable[[str], str | None] = lambda artifact_id: None


def check_job(job: Mapping[str, Any], around: Surroundings) -> Submission:
    """The pipeline of a job's body, which was read by `protos.read`.

    Raises:
        GoogleError: 400 or 403, the service would refuse it.
    """
    check_display_name(job.get("displayName", ""), "pipeline_job.display_name")
    _check_labels(job.get("labels") or {})
    _check_resources(job, around)
    spec = _spec(job.get("pipelineSpec"))
    runtime = job.get("runtimeConfig") or {}
    return Submission(spec, _params(spec, runtime, _input_artifacts(spec, runtime, around)))


def check_job_id(job_id: str) -> None:
    """Refuses an id that is not of the documented form."""
    if not JOB_ID.fullmatch(job_id):
        raise invalid(
            f'Invalid pipeline_job_id "{job_id}": it must match {JOB_ID.pattern}.',
            "pipeline_job_id",
        )


def check_display_name(name: str, field: str) -> None:
    if len(name) > MAX_DISPLAY_NAME:
        raise invalid(
            f"The display name has {len(name)} characters, at most {MAX_DISPLAY_NAME} are allowed.",
            field,
        )


def _check_labels(labels: Mapping[str, str]) -> None:
    field = "pipeline_job.labels"
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


def _check_resources(job: Mapping[str, Any], around: Surroundings) -> None:
    root = (job.get("runtimeConfig") or {}).get("gcsOutputDirectory") or ""
    field = "pipeline_job.runtime_config.gcs_output_directory"
    scheme, _, rest = root.partition("://")
    bucket = rest.partition("/")[0]
    if scheme != "gs" or not bucket:
        raise invalid(
            f'Invalid gcs_output_directory "{root}": it must be gs://BUCKET or a folder below one.',
            field,
        )
    if not around.has_bucket(bucket):
        raise invalid(
            f"The bucket gs://{bucket} of the gcs_output_directory does not exist.", field
        )
    network, key = job.get("network", ""), (job.get("encryptionSpec") or {}).get("kmsKeyName", "")
    if network and not _NETWORK.fullmatch(network):
        raise invalid(f'Invalid network "{network}".', "pipeline_job.network")
    if key and not _KMS_KEY.fullmatch(key):
        raise invalid(f'Invalid kms_key_name "{key}".', "pipeline_job.encryption_spec.kms_key_name")
    account = job.get("serviceAccount", "")
    if account and not around.may_act_as(account):
        raise denied(
            f"You do not have permission to act as service_account: {account}. (or it may not"
            " exist)."
        )


def _spec(document: Any) -> Spec:
    if not document:
        raise invalid("pipeline_spec is required.", "pipeline_job.pipeline_spec")
    try:
        return from_documents([document], "pipeline_spec")
    except SpecError as error:
        raise invalid(
            f"Invalid pipeline_spec: {error.message}", "pipeline_job.pipeline_spec"
        ) from None


def _input_artifacts(
    spec: Spec, runtime: Mapping[str, Any], around: Surroundings
) -> dict[str, str]:
    """Return the URIs of `runtimeConfig.inputArtifacts`, which names artifacts by their ids
    (pipeline_job.proto)."""
    field = "pipeline_job.runtime_config.input_artifacts"
    uris = {}
    for name, entry in (runtime.get("inputArtifacts") or {}).items():
        param = declared_params(spec.pipeline_spec).get(name)
        if param is None or not param.is_artifact:
            raise invalid(f"The pipeline has no input artifact {name}.", field)
        artifact_id = str(entry.get("artifactId") or "")
        uri = around.artifact_uri(artifact_id)
        if uri is None:
            raise invalid(f"There is no artifact {artifact_id} for the input {name}.", field)
        uris[name] = uri
    return uris


def _params(
    spec: Spec, runtime: Mapping[str, Any], artifacts: Mapping[str, str]
) -> Mapping[str, Any]:
    old = spec.pipeline_spec.get("schemaVersion") == "2.0.0"
    name, other = ("parameters", "parameterValues") if old else ("parameterValues", "parameters")
    field = f"pipeline_job.runtime_config.{'parameters' if old else 'parameter_values'}"
    if runtime.get(other):
        raise invalid(
            f"runtime_config.{other} is not used by schema version"
            f" {spec.pipeline_spec.get('schemaVersion')}.",
            field,
        )
    values = dict(runtime.get(name) or {})
    definitions = declared_params(spec.pipeline_spec)
    if old:
        kinds = {key: definition.type for key, definition in definitions.items()}
        values = {key: _old_value(value, kinds.get(key, "")) for key, value in values.items()}
    if given := [key for key in values if key in definitions and definitions[key].is_artifact]:
        raise invalid(f"{given[0]} is an artifact, not a parameter.", field)
    values |= artifacts
    for key, value in values.items():
        kind = definitions[key].type if key in definitions else ""
        if kind == "STRING" and not isinstance(value, str | None):
            raise invalid(f"Invalid value of the parameter {key}: it is declared as STRING.", field)
        if kind == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
            values[key] = int(value)
    try:
        return resolve(definitions, values)
    except ParamError as error:
        raise invalid(f"Invalid parameters: {error.message}", field) from None


def _old_value(value: Mapping[str, Any], kind: str) -> Any:
    """A Value of schema 2.0.0: {intValue: "3"}; what is neither number nor text is JSON in a
    stringValue."""
    if "intValue" in value:
        return int(value["intValue"])
    found = next(iter(value.values()), None)
    if kind in ("BOOLEAN", "LIST", "STRUCT") and isinstance(found, str):
        with suppress(ValueError):
            return json.loads(found)
    return found
