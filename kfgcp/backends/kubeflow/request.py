"""A submission as the body of `POST /apis/v2beta1/runs`, and what of it a run can be told apart by
later.

The service has no labels of its own. Ours go into the run's description, which people read too and
which the service can search, and the submission into its name as well when nobody gave one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.exact_integers import refuse_inexact
from kfgcp.config import Environment
from kfgcp.errors import Unsupported
from kfgcp.labels import EXPERIMENT, SUBMISSION
from kfgcp.options import local_flags
from kfgcp.spec.caching import disable_caching_from, set_caching
from kfgcp.spec.documents import parse_json

LONGEST: Final = 255
"""Characters of a run's name, and of its description: columns of the service's database
(`run_details`)."""
SCHEMA: Final = "2.1.0"
_NESTED_MESSAGES: Final = 100
# Inside a request: Execution, an entry of its custom_properties, ml_metadata.Value, Struct, and an
# entry of that.
_AROUND_A_VALUE: Final = 5
_MARK: Final = "kfgcp: "
_LABELS: Final = re.compile(rf"^{_MARK}(\{{.*\}})\s*$", re.MULTILINE)
_TOLD: Final = ("version", "pipeline", EXPERIMENT)
"""Labels that a run tells too: by its spec, and its experiment by the id."""


def run(
    request: SubmitRequest, env: Environment, experiment_id: str, submission: str
) -> dict[str, Any]:
    """The body of the request that makes a run.

    Raises:
        Unsupported: the spec is of a version that the service does not take, or it repeats from a
            task that it cannot be told to repeat; or the name or the labels are too long; or it is
            given an artifact.
        ParamError: an integer among them is not kept exactly.
        SpecError: one in the spec is not.
    """
    spec = _spec(request)
    refuse_inexact(request.spec.pipeline_spec, request.params, "Kubeflow Pipelines")
    params = {name: value for name, value in request.params.items() if value is not None}
    _refuse_artifacts(request, params)
    _refuse_deep(params)
    runtime: dict[str, Any] = {"parameters": params}
    if root := env.get("pipeline_root"):
        runtime["pipeline_root"] = root
    name = request.options.name or f"{request.spec.name}-{submission}"
    if len(name) > LONGEST:
        raise Unsupported(
            f"The name of the run has {len(name)} characters; Kubeflow Pipelines takes {LONGEST}.",
            hint="Choose a shorter --name.",
        )
    body = {
        "display_name": name,
        "description": description(
            {EXPERIMENT: request.options.experiment, **labels(request, submission)}
        ),
        "experiment_id": experiment_id,
        "pipeline_spec": spec,
        "runtime_config": runtime,
        "service_account": env.get("service_account"),
    }
    return {name: value for name, value in body.items() if value is not None}


def labels(request: SubmitRequest, submission: str) -> dict[str, str]:
    """Those of the request, and the submission's."""
    return {**request.options.labels, SUBMISSION: submission}


def description(found: Mapping[str, str]) -> str:
    """The description of a run that carries labels; when they are too many, without those that the
    run tells too.

    Raises:
        Unsupported: the others are too long as well.
    """
    kept = {SUBMISSION: found[SUBMISSION], **found} if SUBMISSION in found else dict(found)
    for count in range(len(_TOLD) + 1):
        some = {name: value for name, value in kept.items() if name not in _TOLD[:count]}
        text = _MARK + _json(some)
        if len(text) <= LONGEST:
            return text
    raise Unsupported(
        f"The labels of the run, with those of kfgcp, take {len(text)} characters; Kubeflow"
        f" Pipelines keeps {LONGEST}.",
        hint="Give it fewer labels, or shorter ones: --label, and labels in kfgcp.toml.",
    )


def part_of_description(name: str, value: str, *, beginning: bool = False) -> str | None:
    """What a description with a label has in it, for a filter; None when it need not have it, or
    cannot be told as text that a database is asked for (`LIKE` gives a backslash a meaning of its
    own).

    Args:
        name: of the label.
        value: its value.
        beginning: `value` is what the value begins with.
    """
    part = _json({name: value})[1:-1]
    return None if name in _TOLD or "\\" in part else part[: -1 if beginning else None]


def labels_of(text: Any) -> dict[str, str]:
    """The labels in a description; none in one of other people."""
    match = _LABELS.search(text) if isinstance(text, str) else None
    if match is None:
        return {}
    try:
        found = parse_json(match[1])
    except ValueError:
        return {}
    return (
        {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    )


def notes(request: SubmitRequest) -> Iterator[str]:
    """What Kubeflow Pipelines cannot be told, a line each."""
    if local := local_flags(request.options):
        yield (
            f"{', '.join(local)} is for runs on this machine; Kubeflow runs each task in its own"
            " image"
        )
    if request.options.fail_fast:
        yield "--fail-fast is not known to Kubeflow Pipelines: after a failure other branches go on"


def _refuse_artifacts(request: SubmitRequest, params: Mapping[str, Any]) -> None:
    """Refuse input artifacts of the pipeline: `RuntimeConfig` of v2beta1 has parameters and a root,
    nothing else."""
    artifacts = [
        name for name, param in request.spec.params.items() if param.is_artifact and name in params
    ]
    if artifacts:
        raise Unsupported(
            "Kubeflow Pipelines cannot take input artifacts of a pipeline:"
            f" {', '.join(artifacts)}.",
            hint=(
                "Pass the URI as a parameter, and import the artifact:"
                " dsl.importer(artifact_uri=...)."
            ),
        )


def _refuse_deep(params: Mapping[str, Any]) -> None:
    """Refuse values that ML Metadata cannot read.

    The driver writes them into an execution. ML Metadata is a C++ program, where protobuf reads 100
    nested messages (`CodedInputStream::SetRecursionLimit`). This limit is documented, what the run
    then does was not recorded.
    """
    for name, value in params.items():
        if _AROUND_A_VALUE + _nested_messages(value) > _NESTED_MESSAGES:
            raise Unsupported(
                f"The parameter {name} is nested too deeply for Kubeflow Pipelines: its ML Metadata"
                " reads at most 47 nested lists or 31 nested dicts.",
                hint="Pass it as JSON text (str), and parse the text in the task.",
            )


def _nested_messages(value: Any) -> int:
    """Return how many messages a google.protobuf.Value of this JSON value nests, itself
    included."""
    if isinstance(value, Mapping):
        # the Struct and the entry of its map
        return 3 + max(map(_nested_messages, value.values()), default=-2)
    if isinstance(value, (list, tuple)):
        return 2 + max(map(_nested_messages, value), default=0)
    return 1


def _json(found: Mapping[str, str]) -> str:
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _spec(request: SubmitRequest) -> dict[str, Any]:
    """The spec with the request's caching, with the platform document beside it when there is
    one."""
    spec = request.spec.pipeline_spec
    version = spec.get("schemaVersion")
    if version != SCHEMA:
        raise Unsupported(
            f"Kubeflow Pipelines takes specs of schema {SCHEMA}, this one is of {version}.",
            hint="Compile the pipeline again with a current kfp.",
        )
    if request.options.cache is not None:
        spec = set_caching(spec, enabled=request.options.cache)
    if request.from_task is not None:
        try:
            spec = disable_caching_from(spec, request.from_task)
        except ValueError as error:
            raise Unsupported(
                f"Kubeflow cannot repeat a run from {request.from_task}: {error}.",
                hint=(
                    "Name a task outside of loops, or repeat it without --from: what succeeded"
                    " comes from the cache."
                ),
            ) from None
    if request.spec.platform_spec is None:
        return spec
    return {"pipeline_spec": spec, "platform_spec": request.spec.platform_spec}
