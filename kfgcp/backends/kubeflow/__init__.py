"""The backend for a Kubeflow Pipelines on your own cluster, with its REST API v2beta1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.plugin import BackendPlugin

if TYPE_CHECKING:
    from kfgcp.backends.service import RunService, ServiceRecords
    from kfgcp.config import Environment, Project
    from kfgcp.diagnosis.checks import Check
    from kfgcp.model import Run
    from kfgcp.rules.rule import Rule
    from kfgcp.rules.versions import Version

# The releases that the rules know, the oldest first. 3.0 is the branch after 2.17.
_VERSIONS: Final = (
    (2, 0),
    (2, 2),
    (2, 3),
    (2, 4),
    (2, 5),
    (2, 14),
    (2, 15),
    (2, 16),
    (2, 17),
    (3, 0),
)


# Every command loads this plug-in. So the functions import the modules of the backend when they are
# called.
def _service(project: Project, env: Environment, records: ServiceRecords) -> RunService:
    from kfgcp.backends.kubeflow.service import KubeflowService

    return KubeflowService(project, env, records)


def _checks(project: Project, env: Environment, images: Sequence[str] | None) -> Sequence[Check]:
    from kfgcp.backends.kubeflow.doctor import kubeflow_checks

    return kubeflow_checks(env, images)


def _is_artifact_of(env: Environment, run: Run, uri: str) -> bool:
    from kfgcp.backends.kubeflow.server_store import is_artifact_of

    return is_artifact_of(env, run, uri)


def _rules() -> Sequence[Rule]:
    from kfgcp.backends.kubeflow.rules import kubeflow_rules

    return kubeflow_rules()


def _seen_version(env: Environment, records: ServiceRecords) -> Version | None:
    from kfgcp.backends.kubeflow.seen_version import seen_version

    return seen_version(env, records)


BACKEND = BackendPlugin(
    settings=KubeflowSettings,
    service=_service,
    checks=_checks,
    is_artifact_of=_is_artifact_of,
    rules=_rules,
    versions=_VERSIONS,
    newest_release=(2, 17),
    seen_version=_seen_version,
    rounds_metrics=True,
)
