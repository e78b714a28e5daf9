"""From an environment's name to its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kfgcp import config
from kfgcp.backends.registry import require_settings
from kfgcp.diagnosis.checks import Check, Finding, broken, walk
from kfgcp.errors import KfgcpError

_SHOWN = ("project", "location", "host", "namespace", "pipeline_root", "s3_endpoint")


def diagnose(
    load_project: Callable[[], config.Project], name: str | None = None, images: Sequence[str] | None = None
) -> Iterator[Finding]:
    """What is found on the way that a submission takes, up to the first broken link.

    Args:
        load_project: returns the configuration, or raises an error that is the first finding.
        name: of the environment, the project's default one when None.
        images: of the pipeline that is to run, None when it is not known yet.
    """
    try:
        project = load_project()
        env = project.env(name)
        require_settings(env)
        checks = _checks(project, env, images)
    except KfgcpError as error:
        yield broken("config", error)
        return
    yield Finding("config", True, _described(project, env))
    yield from walk(checks)


def _checks(project: config.Project, env: config.Environment, images: Sequence[str] | None) -> list[Check]:
    if env.backend == "local":
        from kfgcp.diagnosis.local import local_checks

        return local_checks(project, env)
    if env.backend == "vertex":
        from kfgcp.diagnosis.vertex import vertex_checks

        return vertex_checks(env, images)
    from kfgcp.diagnosis.kubeflow import kubeflow_checks

    return kubeflow_checks(env, images)


def _described(project: config.Project, env: config.Environment) -> str:
    where = f"{project.file} [env.{env.name}]" if project.file else f"no kfgcp.toml, environment {env.name}"
    values = ", ".join(f"{key} {env.get(key)}" for key in _SHOWN if env.get(key))
    return f"{where}: {env.backend}{', ' if values else ''}{values}"
