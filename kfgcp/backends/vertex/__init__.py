"""The backend `vertex`: Vertex AI Pipelines, over its REST API v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kfgcp.backends.plugin import BackendPlugin
from kfgcp.backends.vertex.settings import VertexSettings

if TYPE_CHECKING:
    from kfgcp.backends.service import RunService, ServiceRecords
    from kfgcp.config import Environment, Project
    from kfgcp.diagnosis.checks import Check
    from kfgcp.rules.rule import Rule


def _service(project: Project, env: Environment, records: ServiceRecords) -> RunService:
    from kfgcp.backends.vertex.service import VertexService

    return VertexService(project, env, records)


def _checks(project: Project, env: Environment, images: Sequence[str] | None) -> Sequence[Check]:
    from kfgcp.backends.vertex.doctor import vertex_checks

    return vertex_checks(env, images)


def _rules() -> Sequence[Rule]:
    from kfgcp.backends.vertex.rules import vertex_rules

    return vertex_rules()


BACKEND = BackendPlugin(settings=VertexSettings, service=_service, checks=_checks, rules=_rules)
