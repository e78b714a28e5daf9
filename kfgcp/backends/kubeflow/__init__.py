"""Kubeflow Pipelines on a cluster of one's own, by its REST API v2beta1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.plugin import BackendPlugin

if TYPE_CHECKING:
    from kfgcp.backends.base import Backend
    from kfgcp.config import Environment, Project
    from kfgcp.diagnosis.checks import Check
    from kfgcp.model import Run
    from kfgcp.store.store import Store


def _open(project: Project, env: Environment, store: Store) -> Backend:
    from kfgcp.backends.kubeflow.service import KubeflowService
    from kfgcp.backends.mirror import Mirror, StoreRecords

    return Mirror(KubeflowService(project, env, StoreRecords(store)), store, env.name)


def _checks(project: Project, env: Environment, images: Sequence[str] | None) -> Sequence[Check]:
    from kfgcp.backends.kubeflow.doctor import kubeflow_checks

    return kubeflow_checks(env, images)


def _is_artifact_of(env: Environment, run: Run, uri: str) -> bool:
    from kfgcp.backends.kubeflow.server_store import is_artifact_of

    return is_artifact_of(env, run, uri)


BACKEND = BackendPlugin(
    settings=KubeflowSettings, open=_open, checks=_checks, is_artifact_of=_is_artifact_of, rounds_metrics=True
)
