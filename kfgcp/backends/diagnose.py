"""From an environment's name to its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kfgcp import config
from kfgcp.backends.registry import (
    naming_distribution,
    plugin_of,
    plugin_problems,
    require_settings,
)
from kfgcp.diagnosis.checks import Check, Finding, broken, walk
from kfgcp.errors import KfgcpError

_SHOWN = ("project", "location", "host", "namespace", "pipeline_root", "s3_endpoint")


def diagnose(
    read_project: Callable[[], config.Project],
    name: str | None = None,
    images: Sequence[str] | None = None,
) -> Iterator[Finding]:
    """What is found on the way that a submission takes, up to the first broken link.

    Args:
        read_project: returns the configuration, or raises an error that is the first finding.
        name: of the environment, the project's default one when None.
        images: of the pipeline that is to run, None when it is not known yet.
    """
    try:
        project = read_project()
        env = project.env(name)
        require_settings(env)
        plugin = plugin_of(env.backend)
        checks: Sequence[Check] = ()
        if plugin.checks is not None:
            with naming_distribution(env.backend, "cannot be checked"):
                checks = plugin.checks(project, env, images)
    except KfgcpError as error:
        yield broken("config", error)
        return
    yield Finding("config", True, _described(project, env))
    for problem in plugin_problems():
        yield Finding(
            "plug-ins", None, problem, "Other backends work. Update or remove that distribution."
        )
    yield from walk(checks)


def _described(project: config.Project, env: config.Environment) -> str:
    where = (
        f"{project.file} [env.{env.name}]"
        if project.file
        else f"no kfgcp.toml, environment {env.name}"
    )
    values = ", ".join(f"{key} {env.get(key)}" for key in _SHOWN if env.get(key))
    return f"{where}: {env.backend}{', ' if values else ''}{values}"
