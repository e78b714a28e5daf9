"""What the trial of mutated answers does with a project: every verb that asks a service
something."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import kfgcp
from kfgcp.backends.base import LogFilter, capability
from kfgcp.backends.versions import SupportsVersions, VersionUpload, digest_text
from kfgcp.errors import NotFound
from kfgcp.model import Artifact
from kfgcp.spec.load import from_text
from kfgcp.testing import KubeflowStandIn, VertexStandIn
from kfgcp.tracking import artifact_contents
from kfgcp.tracking.handle import RunHandle
from mutating_proxy import MutatingProxy

ENDED = ("everything", "typed", "scores", "failed", "seeded")
"""Base runs that have ended, by their names."""
SECONDS = 60.0
"""How long a run is waited for; mutated answers may make it look unfinished for one look."""


@dataclass
class Ground:
    """A project whose environment `cloud` leads to a stand-in through a proxy.

    Attributes:
        backend: `vertex` or `kubeflow`.
        service: the stand-in behind the proxy.
        proxy: of the service.
        storage: proxy of its Cloud Storage.
        pipelines: compiled pipelines by their names.
        verbs: that are tried here.
        run_ids: of the base runs, by their names.
        template: address of a pipeline in Artifact Registry, empty on Kubeflow.
        object_uri: of an object in the bucket.
        kinds: of the requests that each verb makes, by its name.
    """

    backend: str
    service: VertexStandIn | KubeflowStandIn
    proxy: MutatingProxy
    storage: MutatingProxy
    pipelines: dict[str, Path]
    verbs: Sequence[Verb]
    run_ids: dict[str, str] = field(default_factory=dict)
    template: str = ""
    object_uri: str = ""
    kinds: dict[str, list[str]] = field(default_factory=dict)

    def submit(self, pipeline: str = "scores", env: str = "cloud", **options: Any) -> RunHandle:
        """Start a run of a compiled pipeline."""
        params = {"typed": TYPED, "everything": {"marker": "m"}}.get(pipeline, {})
        return kfgcp.submit(self.pipelines[pipeline], env=env, params=params, **options)

    def submit_unfinished(self) -> RunHandle:
        """Start a run that ends long after the test."""
        self.service.instant.seconds = 600.0
        try:
            return self.submit()
        finally:
            self.service.instant.seconds = 0.0

    def submit_failing(self) -> RunHandle:
        """Start a run that fails at once."""
        self.service.instant.failing = {"evaluate": "it did not work"}
        try:
            return self.submit()
        finally:
            self.service.instant.failing = {}


TYPED = {
    "text": "\u00fcn\u00efcode \u2603",
    "n": 3,
    "ratio": 1e300,
    "flag": True,
    "items": [1, "two", [3.5, None, False]],
    "config": {"a": {"b": [1, 2]}, "n": 4},
}


@dataclass(frozen=True)
class Verb:
    """A verb of the product.

    Attributes:
        name: of the verb.
        act: does it, with what `arrange` returned; its answers are changed.
        arrange: what has to be there, from answers that are not changed.
        backends: those that have it.
        arguments: of the same verb at the command line, None when it is not tried there.
        weight: how many cases it has compared with others.
        makes_runs: it, or what has to be there, makes runs.
    """

    name: str
    act: Callable[[Ground, Random, Any], object]
    arrange: Callable[[Ground, Random], Any] = lambda ground, random: None
    backends: Sequence[str] = ("vertex", "kubeflow")
    arguments: Callable[[Ground, Random, object], list[str]] | None = None
    weight: int = 1
    makes_runs: bool = True


def _ended(ground: Ground, random: Random) -> str:
    return ground.run_ids[random.choice(ENDED)]


def _any(ground: Ground, random: Random) -> str:
    return ground.run_ids[random.choice((*ENDED, "unfinished"))]


def _two(ground: Ground, random: Random) -> list[str]:
    return [ground.run_ids[name] for name in random.sample(ENDED, 2)]


def _submitted(ground: Ground, random: Random) -> RunHandle:
    return ground.submit(name=f"made-{random.randrange(10**9)}")


def _logs(ground: Ground, random: Random, run: str) -> None:
    env = random.choice(("cloud", "logged")) if ground.backend == "kubeflow" else "cloud"
    severity = (
        random.choice((None, "INFO")) if env == "logged" or ground.backend == "vertex" else None
    )
    list(kfgcp.logs(_of_env(run, env), severity=severity))


def _of_env(run: str, env: str) -> RunHandle:
    """Open a run in one of the environments that lead to the same place."""
    from kfgcp.backends.base import RunRef

    workspace = kfgcp.Workspace.default()
    ref = RunRef(env, run)
    return RunHandle(workspace, ref, workspace.backend(env).get(ref))


def _read_artifacts(ground: Ground, random: Random, _: object) -> None:
    for uri in (ground.object_uri, ground.object_uri.rpartition("/")[0]):
        artifact = Artifact("task", "report", "system.HTML", uri)
        artifact_contents.text(artifact, local=False)
        artifact_contents.filled(artifact, local=False)
    with suppress(NotFound):
        artifact_contents.text(
            Artifact("task", "report", "system.HTML", f"{ground.object_uri}.gone"), local=False
        )


def _frames(ground: Ground, random: Random, _: object) -> None:
    random.choice((kfgcp.runs, kfgcp.metrics, kfgcp.tasks, kfgcp.artifacts))(env="cloud")


def _export(ground: Ground, random: Random, _: object) -> None:
    from kfgcp.query import RunFilter

    table = random.choice(("runs", "metrics", "tasks", "artifacts"))
    form = random.choice(("csv", "json", "parquet"))
    file = Path(os.environ["KFGCP_HOME"]).with_suffix(".parquet") if form == "parquet" else None
    kfgcp.export(form=form, file=file, wanted=RunFilter(env="cloud"), table=table)


def _list(ground: Ground, random: Random, _: object) -> None:
    from kfgcp.query import RunFilter

    env = random.choice(("cloud", "cloud", None))
    states = random.choice(((), (kfgcp.RunState.FAILED,)))
    kfgcp.list(
        RunFilter(env=env, states=states),
        limit=random.choice((None, 2)),
        metrics=random.random() < 0.5,
    )


def _watch(ground: Ground, random: Random, run: RunHandle) -> None:
    for _ in kfgcp.watch(run, logs=LogFilter()):
        pass


def _doctor(ground: Ground, random: Random, _: object) -> None:
    env = random.choice(("cloud", "logged" if ground.backend == "kubeflow" else "tracked"))
    pipeline = random.choice((None, ground.pipelines["imaged"]))
    findings = kfgcp.doctor(env, pipeline)
    for finding in findings:
        if finding.ok is False and finding.exit_code == 1:
            raise AssertionError(f"doctor has the exit code 1: {finding}")


def _native(ground: Ground, random: Random, run: RunHandle) -> None:
    run.native()


def _rerun(ground: Ground, random: Random, run: str) -> None:
    kfgcp.rerun(run, env="cloud", timeout=SECONDS, check=False)


def _versions(ground: Ground, random: Random, _: object) -> None:
    """Add a version of a pipeline, read it, and give it a tag."""
    registry = capability(kfgcp.Workspace.default().backend("cloud"), SupportsVersions)
    assert registry is not None
    text = ground.pipelines["scores"].read_text() + f"# {random.random()}\n"
    name = from_text(text, "scores").name
    entry = registry.upload(VersionUpload("acme", name, digest_text(text), text))
    assert registry.read_text(entry) == text
    # One tag is moved each time, and the other one is created and removed.
    for tag in ("latest", "stable"):
        registry.set_tag(entry, tag)
    registry.list_versions(name)
    registry.list_pipelines()
    registry.remove_tag(entry, "stable")


def _cli(*arguments: str) -> Callable[[Ground, Random, object], list[str]]:
    """The arguments of a verb; RUN stands for what was arranged."""

    def fill(ground: Ground, random: Random, arranged: Any) -> list[str]:
        run = arranged.run_id if isinstance(arranged, RunHandle) else arranged
        runs = run if isinstance(run, list) else [str(run)]
        filled = []
        for argument in arguments:
            filled += runs if argument == "RUN" else [argument]
        return [
            str(ground.pipelines["scores"]) if argument == "PIPELINE" else argument
            for argument in filled
        ]

    return fill


VERBS = (
    Verb(
        "submit",
        lambda ground, random, _: ground.submit(random.choice(("scores", "typed"))),
        arguments=_cli("run", "PIPELINE", "--env", "cloud", "--detach", "--json"),
    ),
    Verb(
        "run",
        lambda ground, random, _: ground.submit("everything").wait(SECONDS, check=False),
        arguments=_cli("run", "PIPELINE", "--env", "cloud"),
    ),
    Verb(
        "submit with experiment tracking",
        lambda ground, *_: ground.submit(env="tracked"),
        backends=("vertex",),
    ),
    Verb(
        "run of a template",
        lambda ground, *_: kfgcp.submit(ground.template, env="cloud"),
        backends=("vertex",),
    ),
    Verb(
        "list",
        _list,
        arguments=_cli("list", "--env", "cloud", "--json"),
        weight=4,
        makes_runs=False,
    ),
    Verb(
        "show",
        lambda ground, random, run: kfgcp.show(run),
        _any,
        arguments=_cli("show", "RUN", "--json"),
        weight=4,
        makes_runs=False,
    ),
    Verb("logs", _logs, _ended, arguments=_cli("logs", "RUN"), weight=2, makes_runs=False),
    Verb(
        "watch",
        _watch,
        lambda ground, random: _submitted(ground, random),
        arguments=_cli("watch", "RUN"),
    ),
    Verb(
        "cancel",
        lambda ground, random, run: run.cancel(),
        lambda ground, random: ground.submit_unfinished(),
        arguments=_cli("cancel", "RUN"),
    ),
    Verb(
        "delete",
        lambda ground, random, run: kfgcp.delete(run),
        _submitted,
        arguments=_cli("delete", "RUN", "--yes"),
    ),
    Verb("rerun", _rerun, _ended, arguments=_cli("rerun", "RUN", "--env", "cloud")),
    Verb(
        "retry",
        lambda ground, random, run: kfgcp.retry(run, timeout=SECONDS, check=False),
        lambda ground, random: ground.submit_failing(),
        backends=("kubeflow",),
        arguments=_cli("retry", "RUN"),
    ),
    Verb(
        "compare",
        lambda ground, random, runs: kfgcp.compare(runs),
        _two,
        arguments=_cli("compare", "RUN"),
        weight=2,
        makes_runs=False,
    ),
    Verb(
        "export",
        _export,
        arguments=_cli("export", "--env", "cloud", "--format", "json"),
        weight=2,
        makes_runs=False,
    ),
    Verb("frames", _frames, weight=2, makes_runs=False),
    Verb("native", _native, _submitted),
    Verb("doctor", _doctor, arguments=_cli("doctor", "--env", "cloud"), weight=2, makes_runs=False),
    Verb("versions", _versions, backends=("vertex",), weight=2, makes_runs=False),
    Verb("artifact contents", _read_artifacts, makes_runs=False),
)


def quietly(call: Callable[[], object]) -> None:
    """Call without the warnings that say what could not be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()
