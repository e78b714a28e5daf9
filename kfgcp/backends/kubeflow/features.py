"""What of a pipeline a server of Kubeflow Pipelines cannot run: because it is too old, or because
only Vertex AI does.

Pure over the spec and its graph. What is refused would not run, or not to the end. What is only
doubtful, because it is left out without a word or there is an open report, is a note. The versions
are those of the public release notes and source (kubeflow/pipelines, CHANGELOG.md and
backend/src/v2); numbers are of its pull requests and issues:

    never     customJob and resolver executors, artifactIterator, a condition on an importer itself:
              refused by the compiler of workflows (argocompiler/dag.go). Values of the run in
              variables (#13034) are open.
    2.3       empty folders (#10913).
    2.4       outputs of nested pipelines and of branches, dsl.OneOf (#11196; before, the task that
              takes one fails: #10039), images and resources from parameters (#11404, #11501),
              limits of loops (#10798), cache keys (#11434), exit tasks as hooks of the workflow
              (#11470).
    2.5       placeholders of the run and the task (#11599), retries of tasks (#11673).
    2.14      dsl.Collected (#11725), dsl.PipelineTaskFinalStatus (#11953), workspaces (#11982),
              retries of nested pipelines (#11908), parameters of nested pipelines that are left out
              (#11980).
    2.17      importers in loops (#10860) and loops in exit handlers (#12390, seen with 2.14.3):
              both work in 2.17.0 (recorded: cluster-2.17.0/importer-loop and exit-loop). Not known:
              which release repaired them.

What a server runs in another way than it is documented is in differences.py.

Not confirmed: what a server does with a feature that it is too old for, where no issue tells, and
how components of google-cloud-pipeline-components fare, which call Vertex AI from a container.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.kubeflow.differences import DIFFERENCES, METRICS, has_metrics
from kfgcp.backends.kubeflow.sites import Feature, Site, Version, sites
from kfgcp.spec import platform
from kfgcp.spec.graph import (
    Binding,
    FinalStatus,
    FromTask,
    Importer,
    OtherExecutor,
    build,
)
from kfgcp.spec.load import Spec

OLDEST: Final = (2, 0)
"""The first that has the API v2beta1."""
WORKSPACE: Final = (2, 14)
"""The first that gives a pipeline its workspace."""
_VERSION: Final = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")
_OF_A_RUN: Final = re.compile(
    r"\{\{\$\.(?:pipeline_job|pipeline_task)_(?:name|uuid|resource_name)\}\}"
)
_GOOGLES: Final = "google-cloud-pipeline-components"


@dataclass(frozen=True, slots=True)
class Lack:
    """What a server cannot do for a task, or does in another way; `task` is empty for the pipeline
    as a whole."""

    task: str
    what: str
    since: Version | None
    note: str
    begins: Version | None = None
    differs: bool = False
    for_check: bool = False

    @property
    def refused(self) -> bool:
        return not self.note

    @property
    def depends_on_version(self) -> bool:
        return self.since is not None or self.begins is not None

    def is_of(self, version: Version | None) -> bool:
        """Return whether it is true of a server; None is one as new as any."""
        if version is None:
            return self.since is None
        too_old = self.since is None or version < self.since
        return too_old and (self.begins is None or version >= self.begins)

    def __str__(self) -> str:
        who = f"task {self.task}" if self.task else "the pipeline"
        if self.differs:
            return f"{who} {self.what}: on Kubeflow, {self.note}"
        when = "Kubeflow Pipelines does not support this"
        if self.since:
            when = f"Kubeflow Pipelines supports this since {text_of(self.since)}"
        return f"{who} {self.what}: {when}{f'; {self.note}' if self.note else ''}"


def lacks(spec: Spec, version: Version | None) -> list[Lack]:
    """What a server of a version cannot do of a spec, what is refused first; None is a server as
    new as any."""
    found = [lack for lack in used(spec) if lack.is_of(version)]
    return sorted(found, key=lambda lack: not lack.refused)


def used(spec: Spec) -> Iterator[Lack]:
    """The features of a spec that some server cannot do, each as what it would lack; a feature once
    for each task."""
    if platform.WORKSPACE in platform.pipeline_settings(spec.platform_spec):
        yield Lack("", "has a workspace", WORKSPACE, "")
    graph = build(spec.pipeline_spec, spec.platform_spec)
    if has_metrics(graph):
        yield _lack("", METRICS)
    for site in sites(graph):
        for feature in (*FEATURES, *DIFFERENCES):
            if feature.found(site):
                yield _lack(site.path, feature)


def _lack(path: str, feature: Feature) -> Lack:
    return Lack(
        path,
        feature.what,
        feature.since,
        feature.note,
        feature.begins,
        feature.differs,
        feature.for_check,
    )


def version_of(tag: object) -> Version | None:
    """The version that a server calls itself, None when that is none: `2.14.3`, `v2.5.0-rc.1`,
    `unknown`."""
    match = _VERSION.match(tag) if isinstance(tag, str) else None
    return tuple(int(part) for part in match.groups() if part is not None) if match else None


def text_of(version: Version) -> str:
    return ".".join(map(str, version))


# -- what a task may have


def _sources(site: Site) -> Iterator[Binding]:
    yield from (*site.task.params.values(), *site.task.artifacts.values())


def _of_kind(kind: str) -> Callable[[Site], bool]:
    return lambda site: (
        isinstance(site.component.executor, OtherExecutor) and site.component.executor.kind == kind
    )


def _takes(looped: bool) -> Callable[[Site], bool]:
    """Whether an input is an output of a loop, or of a DAG that is none."""

    def found(site: Site) -> bool:
        for binding in _sources(site):
            if isinstance(binding.source, FromTask):
                source = site.tasks[binding.source.task]
                loop = source.iterator is not None
                if loop is looped and (loop or site.graph.component(source).dag is not None):
                    return True
        return False

    return found


def _left_out(site: Site) -> bool:
    """A parameter of a nested pipeline without default and value."""
    params = site.component.params if site.component.dag is not None else {}
    return any(
        each.optional and not each.has_default and name not in site.task.params
        for name, each in params.items()
    )


def _command(site: Site, pattern: re.Pattern[str]) -> bool:
    container = site.container
    return container is not None and any(map(pattern.search, (*container.command, *container.args)))


def _has_placeholder(values: object) -> bool:
    return "{{$" in str(values)


FEATURES: Final = (
    Feature("is a custom job, which only Vertex AI runs", _of_kind("customJob")),
    Feature("asks a resolver for artifacts", _of_kind("resolver")),
    Feature(
        "is a loop over artifacts",
        lambda site: site.task.iterator is not None and site.task.iterator.artifacts,
    ),
    Feature(
        "is an importer with a condition of its own",
        lambda site: isinstance(site.component.executor, Importer) and bool(site.task.condition),
    ),
    Feature("collects the outputs of a loop (dsl.Collected)", _takes(looped=True), (2, 14)),
    Feature(
        "takes the final status of another task (dsl.PipelineTaskFinalStatus)",
        lambda site: any(isinstance(binding.source, FinalStatus) for binding in _sources(site)),
        (2, 14),
    ),
    Feature(
        "takes an output of a nested pipeline, a branch or dsl.OneOf", _takes(looped=False), (2, 4)
    ),
    Feature(
        "has an image that a parameter names",
        lambda site: site.container is not None and _has_placeholder(site.container.image),
        (2, 4),
    ),
    Feature(
        "has resources that a parameter names",
        lambda site: site.container is not None and _has_placeholder(site.container.resources),
        (2, 4),
        "it may start without them",
    ),
    Feature(
        "limits how many iterations run at once",
        lambda site: site.task.iterator is not None and site.task.iterator.limit > 0,
        (2, 4),
        "all of them start at once",
    ),
    Feature(
        "has a cache key", lambda site: bool(site.task.cache_key), (2, 4), "the key is ignored"
    ),
    Feature(
        "runs at the exit of others",
        lambda site: site.task.runs_always,
        (2, 4),
        "it may be left out after a failure",
    ),
    Feature(
        "asks for the name or id of its run or task",
        lambda site: _command(site, _OF_A_RUN),
        (2, 5),
        "it may be given the placeholder itself",
    ),
    Feature(
        "is tried again after a failure",
        lambda site: site.task.retry is not None and site.component.dag is None,
        (2, 5),
        "it may be tried once only",
    ),
    Feature(
        "is a nested pipeline that is tried again",
        lambda site: site.task.retry is not None and site.component.dag is not None,
        (2, 14),
        "it is tried once",
    ),
    Feature(
        "is a nested pipeline with a parameter left out",
        _left_out,
        (2, 14),
        "a task that takes it fails",
    ),
    Feature(
        "has an empty folder of its own",
        lambda site: (
            site.container is not None
            and any(mount.scratch for mount in site.container.cluster.mounts)
        ),
        (2, 3),
        "the folder is not there",
    ),
    Feature(
        "is an importer in a loop",
        lambda site: (
            isinstance(site.component.executor, Importer)
            and any(each.iterator for each in site.within)
        ),
        (2, 17),
        "it fails on older servers",
    ),
    Feature(
        "is a loop inside an exit handler",
        lambda site: site.guarded and site.task.iterator is not None,
        (2, 17),
        "it fails on older servers",
    ),
    Feature(
        "has a value of the run in a variable",
        lambda site: (
            site.container is not None and any(map(_has_placeholder, site.container.env.values()))
        ),
        None,
        "the variable holds the placeholder itself",
    ),
    Feature(
        "is of google-cloud-pipeline-components",
        lambda site: site.container is not None and _GOOGLES in site.container.image,
        None,
        "it calls Vertex AI, and needs the permissions and outputs of a run there",
    ),
)
"""What is looked for in every task, refusals first."""
