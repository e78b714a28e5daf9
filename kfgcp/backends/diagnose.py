"""Run the checks of an environment for `kfgcp doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kfgcp import config
from kfgcp.backends.registry import (
    naming_distribution,
    plugin_of,
    plugin_problems,
    require_settings,
)
from kfgcp.diagnosis.checks import Check, Finding, failed_finding, run_checks
from kfgcp.errors import KfgcpError

# The settings that distinguish environments, for all backends. The values are not secret.
_SHOWN_KEYS = ("project", "location", "host", "namespace", "pipeline_root", "s3_endpoint")


def _no_checks(env: config.Environment) -> Sequence[Check]:
    return ()


def diagnose(
    read_project: Callable[[], config.Project],
    name: str | None = None,
    images: Sequence[str] | None = None,
    first_checks: Callable[[config.Environment], Sequence[Check]] = _no_checks,
) -> Iterator[Finding]:
    """Yield the findings about an environment, up to the first check that fails.

    A check comes before the checks that depend on it, as the steps of a submission do.

    Args:
        read_project: returns the configuration. An error that it raises becomes the only finding.
        name: the name of the environment, None for the default environment of the project.
        images: the images of the pipeline that will run, None when no pipeline is chosen yet.
        first_checks: returns checks that come before those of the backend.
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
        yield failed_finding("config", error)
        return
    yield Finding("config", True, _describe_environment(project, env))
    for problem in plugin_problems():
        yield Finding(
            "plug-ins",
            None,
            problem,
            "Other backends work. Update or remove the package of this backend.",
        )
    yield from run_checks(list(first_checks(env)) + list(checks))


def _describe_environment(project: config.Project, env: config.Environment) -> str:
    """Return where an environment is configured, its backend, and its important settings."""
    place = f"no kfgcp.toml, environment {env.name}"
    if project.file is not None:
        place = f"{project.file} [env.{env.name}]"
    facts = [env.backend]
    for key in _SHOWN_KEYS:
        value = env.get(key)
        if value:
            facts.append(f"{key} {value}")
    return f"{place}: {', '.join(facts)}"
