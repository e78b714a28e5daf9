"""An environment of a project as a place where a pipeline would run."""

from __future__ import annotations

from kfgcp.backends.registry import typed_settings
from kfgcp.config import Environment, Project
from kfgcp.deploy.images.pins import runner_of
from kfgcp.options import RunOptions
from kfgcp.rules.rule import Target
from kfgcp.rules.versions import Version
from kfgcp.spec.unpinned_images import image_repositories
from kfgcp.tracking.environment_options import with_environment_options


def target_of(
    project: Project, env: Environment, version: Version | None, options: RunOptions
) -> Target:
    """Return an environment of a project as a place where a pipeline would run.

    Args:
        project: the project.
        env: the environment.
        version: the version of its server, None when it is not known.
        options: how the pipeline would be run.
    """
    return Target(
        env.name,
        env.backend,
        version,
        typed_settings(env),
        with_environment_options(options, env),
        runner_of(env),
        image_repositories(project),
    )
