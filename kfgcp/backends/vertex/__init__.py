"""Vertex AI Pipelines, by its REST API v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kfgcp.backends.plugin import BackendPlugin
from kfgcp.backends.vertex.settings import VertexSettings

if TYPE_CHECKING:
    from kfgcp.backends.base import Backend
    from kfgcp.config import Environment, Project
    from kfgcp.diagnosis.checks import Check
    from kfgcp.store.store import Store


def _open(project: Project, env: Environment, store: Store) -> Backend:
    from kfgcp.backends.mirror import Mirror, StoreRecords
    from kfgcp.backends.vertex.service import VertexService

    return Mirror(VertexService(project, env, StoreRecords(store)), store, env.name)


def _checks(project: Project, env: Environment, images: Sequence[str] | None) -> Sequence[Check]:
    from kfgcp.backends.vertex.doctor import vertex_checks

    return vertex_checks(env, images)


BACKEND = BackendPlugin(settings=VertexSettings, open=_open, checks=_checks)
