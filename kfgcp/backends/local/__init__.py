"""The backend `local`: the embedded engine on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kfgcp.backends.local.settings import LocalSettings
from kfgcp.backends.plugin import BackendPlugin

if TYPE_CHECKING:
    from kfgcp.backends.base import Backend
    from kfgcp.config import Environment, Project
    from kfgcp.diagnosis.checks import Check
    from kfgcp.rules.rule import Rule
    from kfgcp.store.store import Store


def _open(project: Project, env: Environment, store: Store) -> Backend:
    from kfgcp.backends.local.service import LocalBackend

    return LocalBackend(project, env, store)


def _checks(project: Project, env: Environment, images: Sequence[str] | None) -> Sequence[Check]:
    from kfgcp.backends.local.doctor import local_checks

    return local_checks(project, env)


def _rules() -> Sequence[Rule]:
    from kfgcp.backends.local.rules import local_rules

    return local_rules()


BACKEND = BackendPlugin(
    settings=LocalSettings, open=_open, checks=_checks, rules=_rules, runs_here=True
)
