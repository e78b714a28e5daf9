"""Read the experiment, the pipeline and the parameters of a request for a run or a recurring run.

The texts of errors are those of the recordings tests/recorded/api-2.17.0/run-*.json. Texts without
a recording are those of resource_manager.go.
"""

from __future__ import annotations

import json
import random
import string
from dataclasses import dataclass
from typing import Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from kfgcp.testing.kubeflow_server import rules
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import (
    INVALID,
    GatewayError,
    KfpError,
    internal_error,
    invalid_input,
)
from kfgcp.testing.kubeflow_server.experiments import Experiment, Experiments
from kfgcp.testing.kubeflow_server.messages import read_fields, read_text
from kfgcp.testing.kubeflow_server.pipelines import Pipelines
from kfgcp.testing.kubeflow_server.uploads import parse_spec_document
from kfgcp.testing.kubeflow_server.versions import ServerVersion
from kfgcp.testing.rules import Submission

# The fields of a body that can name the pipeline. They are a `oneof`: a body may have one of them.
PIPELINE_SOURCES: Final = ("pipeline_spec", "pipeline_version_reference", "pipeline_version_id")

# In the table `run_details`, text columns without an explicit size are VARCHAR(255) (model/run.go,
# client_manager.go). The columns for the name and the description of a run have no explicit size.
MAX_TEXT_LENGTH: Final = 255
# Before 2.15 the parameters are in a column of the type TEXT, which has this size.
MAX_PARAMETERS_BYTES: Final = 65_535


@dataclass(frozen=True, slots=True)
class RequestedPipeline:
    """The pipeline that a run executes.

    Attributes:
        spec: the pipeline.
        reference: the ids of the pipeline and the version, None if the request contains the spec.
        submission: the pipeline with all its parameters.
    """

    spec: Spec
    reference: dict[str, str] | None
    submission: Submission


class RunRequests:
    """A reader of requests for runs and recurring runs.

    Args:
        access: who may do what.
        experiments: the experiments of the server.
        pipelines: the pipelines of the server.
        version: the version of the server.
    """

    def __init__(
        self,
        access: Access,
        experiments: Experiments,
        pipelines: Pipelines,
        version: ServerVersion,
    ) -> None:
        self._access = access
        self._experiments = experiments
        self._pipelines = pipelines
        self._version = version

    def read_pipeline(
        self,
        body: JsonObject,
        context: str = "Failed to create a run due to error fetching manifest",
        generating_context: str = rules.GENERATE_ERROR,
    ) -> RequestedPipeline:
        """Return the pipeline of a run or a recurring run, with its parameters.

        Args:
            body: the body of the request.
            context: the step that fails without the pipeline, for errors.
            generating_context: the step that fails with wrong parameters, for errors.

        Raises:
            KfpError: the server refuses the pipeline or the parameters.
        """
        lenient = not self._version.is_modern
        runtime_config = read_fields(
            body.get("runtime_config") or {}, ("parameters", "pipeline_root"), lenient=lenient
        )
        parameters = runtime_config.get("parameters") or {}
        spec, reference = self._find_pipeline(body, context)
        submission = rules.build_submission(spec, parameters, self._version, generating_context)
        return RequestedPipeline(spec, reference, submission)

    def read_experiment(
        self, body: JsonObject, namespace: str, resource: str, context: str
    ) -> Experiment:
        """Return the experiment of a new run or recurring run, by default `Default`.

        Args:
            body: the body of the request.
            namespace: the namespace to use when the body names no experiment.
            resource: the type of the new object: `runs` or `jobs`.
            context: the step that fails without the experiment: `Failed to create a run`.

        Raises:
            KfpError: the experiment does not exist, or the caller may not use it.
        """
        invalid_context = f"{context} due to invalid experimentId and namespace combination"
        denied_prefix = (
            f"{context} due to authorization error. Check if you have write permissions to"
            " namespace "
        )
        experiment_id = read_text(body, "experiment_id")
        if experiment_id:
            experiment = self._experiments.get_any(
                experiment_id,
                invalid_context,
                f"Failed to fetch namespace for experiment {experiment_id}",
                f"Failed to fetch namespace from experiment {experiment_id}",
            )
            namespace = experiment.namespace
            self._access.check(namespace, "create", resource, denied_prefix + namespace)
            return experiment
        if self._access.multi_user and not namespace:
            raise invalid_input(
                "Experiment id can not be empty in multi-user mode", invalid_context
            )
        self._access.check(namespace, "create", resource, denied_prefix + namespace)
        return self._experiments.get_default(namespace)

    def find_listed_experiment(self, experiment_id: str, *contexts: str) -> Experiment:
        """Return the experiment for a list of its runs or recurring runs.

        Raises:
            KfpError: NOT_FOUND.
        """
        fetching_context = f"Failed to fetch namespace from experiment {experiment_id}"
        return self._experiments.get_any(experiment_id, *contexts, fetching_context)

    def _find_pipeline(self, body: JsonObject, context: str) -> tuple[Spec, dict[str, str] | None]:
        """Return the pipeline, and the ids of its version if it has been uploaded before."""
        sources = [name for name in PIPELINE_SOURCES if body.get(name)]
        if len(sources) > 1:
            raise GatewayError(
                INVALID, f'proto: (line 1:25): error parsing "{sources[1]}", oneof is already set'
            )
        try:
            if not sources:
                raise invalid_input(
                    "Failed to fetch a template with an empty pipeline spec manifest"
                )
            reference = body.get("pipeline_version_reference")
            if "pipeline_version_id" in sources:
                reference = {"pipeline_version_id": body["pipeline_version_id"]}
            if reference is None:
                return parse_spec_document(body["pipeline_spec"]), None
            return self._find_version(reference)
        except KfpError as error:
            # The server wraps all errors except a missing permission and an error of the gateway.
            if error.status == 403 or isinstance(error, GatewayError):
                raise
            raise internal_error(error, context) from None

    def _find_version(self, reference: JsonObject) -> tuple[Spec, dict[str, str]]:
        reference = read_fields(
            reference,
            ("pipeline_id", "pipeline_version_id"),
            lenient=not self._version.is_modern,
        )
        namespace = self._pipelines.find_namespace(reference)
        if namespace is not None:
            self._access.check(namespace, "get", "pipelines", shared=True)
        version = self._pipelines.find_referenced_version(reference)
        return version.spec, version.reference


def check_workflow_size(spec: Spec, parameters: JsonObject, max_bytes: int) -> None:
    """Refuse a run whose Workflow is too large for etcd (run-create-too-big.json)."""
    size = 0
    for part in (spec.pipeline_spec, parameters):
        size += len(json.dumps(part, ensure_ascii=False).encode())
    if size > max_bytes:
        workflow = make_workflow_name(spec)
        raise internal_error(
            "etcdserver: request is too large", f"Failed to create a workflow for ({workflow})"
        )


def check_columns(
    name: str, description: str, parameters: JsonObject, version: ServerVersion
) -> None:
    """Refuse values that MySQL cannot store in its strict mode, which is the default mode."""
    column = _find_too_long_column(name, description, parameters, version)
    if column is not None:
        problem = f"Error 1406 (22001): Data too long for column '{column}' at row 1"
        error = internal_error(problem, "Failed to store run to table")
        raise error.within("Failed to create a run")


def _find_too_long_column(
    name: str, description: str, parameters: JsonObject, version: ServerVersion
) -> str | None:
    if len(name) > MAX_TEXT_LENGTH:
        return "DisplayName"
    if len(description) > MAX_TEXT_LENGTH:
        return "Description"
    # Servers that limit names, since 2.15, do not limit the parameters.
    if version.limits_names:
        return None
    column_text = json.dumps(parameters, ensure_ascii=False, separators=(",", ":"))
    return "RuntimeParameters" if len(column_text.encode()) > MAX_PARAMETERS_BYTES else None


def make_workflow_name(spec: Spec) -> str:
    """Return a name for a new Argo workflow: the pipeline's name and five random characters."""
    letters = random.choices(string.ascii_lowercase + string.digits, k=5)  # noqa: S311
    return f"{spec.name}-{''.join(letters)}"
