"""Ask the rules of the local engine, and this machine, whether a run can start here."""

from __future__ import annotations

from kfgcp.backends.local.rules import local_rules
from kfgcp.backends.local.settings import LocalSettings
from kfgcp.engine import cluster, docker_need
from kfgcp.engine.secrets import Secrets
from kfgcp.options import RunOptions
from kfgcp.rules.before_run import refuse_errors, warning_lines
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import RuleFinding
from kfgcp.rules.ignored import Ignored
from kfgcp.rules.rule import Target, judge
from kfgcp.spec.graph import Graph
from kfgcp.spec.load import Spec


def refuse(spec: Spec, options: RunOptions, settings: LocalSettings) -> tuple[Graph, bool]:
    """Refuse a run that the engine cannot execute on this machine.

    Returns:
        The graph of the pipeline, and whether the run needs a Docker engine.

    Raises:
        Unsupported: a rule refuses the pipeline, or it needs a Docker engine and none answers.
    """
    pipeline = PipelineContext(spec)
    # The engine cannot run what its rules refuse, so the project cannot ignore these rules.
    refuse_errors(_find_problems(pipeline, options, settings))
    return pipeline.graph, docker_need.require_docker(pipeline.graph, options)


def note_lines(
    spec: Spec,
    options: RunOptions,
    settings: LocalSettings,
    ignored: Ignored,
    secrets: Secrets,
) -> list[str]:
    """Return a line for each warning of the rules, and for what this machine lacks.

    Args:
        spec: the pipeline of the run.
        options: the options of the run.
        settings: the settings of the environment.
        ignored: the findings that the user ignores.
        secrets: the secrets whose places on this machine are known.
    """
    pipeline = PipelineContext(spec)
    lines = warning_lines(_find_problems(pipeline, options, settings), ignored)
    all_in_containers = options.executor == "docker"
    lines += cluster.missing(pipeline.graph, secrets, all_in_containers=all_in_containers)
    return lines


def _find_problems(
    pipeline: PipelineContext, options: RunOptions, settings: LocalSettings
) -> list[RuleFinding]:
    target = Target(options.env, "local", settings=settings, options=options)
    return judge(local_rules(), pipeline, target)
