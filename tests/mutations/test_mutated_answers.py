"""Services answer with anything: each verb then does its work, or ends with an error that says
whose answer it was.

A failing case prints what it needs to be repeated: the seed, its number, the verb, the request and
the change. The same seed makes the same changes: `pytest tests/mutations --seed SEED`. When several
requests of one kind are under way, the first to arrive gets the changed answer.
"""

import json
import os
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests

from answer_mutations import mutate
from kfgcp import testing
from kfgcp.backends.base import Pace
from kfgcp.backends.kubeflow import create_run as creating
from kfgcp.backends.kubeflow import executions_from_mlmd as metadata
from kfgcp.backends.kubeflow import logs as kubeflow_logs
from kfgcp.backends.registry import load_project
from kfgcp.backends.vertex import logs as vertex_logs
from kfgcp.cli import main
from kfgcp.errors import BackendError, KfgcpError, MissingExtra
from kfgcp.model import json_text
from kfgcp.query import RunFilter
from kfgcp.services.client import ServiceClient
from kfgcp.services.storage import retry
from kfgcp.store.store import DATABASE_NAME, Store
from kfgcp_command import Command
from mutated_verbs import VERBS, Ground, Verb, quietly
from mutating_proxy import proxy_of
from trials import Trial

GROUNDS = [
    (backend, makes_runs) for backend in ("vertex", "kubeflow") for makes_runs in (False, True)
]
GROUNDS.append(("kubeflow 3.0", False))
"""A stand-in for each: verbs that make runs would make the lists of the others longer and
longer."""
NAMES = (
    "Vertex AI",
    "Kubeflow Pipelines",
    "ML Metadata",
    "Cloud Logging",
    "Cloud Storage",
    "Artifact Registry",
    "Google",
    "gs://",
    "the archive",
)
"""Of services; an error about an answer names one of them, or the host."""
LONGEST_MESSAGE = 700
"""Characters of an error's message."""
IMAGE = "europe-docker.pkg.dev/acme/images/train:v1"
COMMANDS = 25
"""One of so many commands is a process of its own."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended: with the error of the product, with another exception, or well (both are
    None)."""

    error: KfgcpError | None = None
    unknown: BaseException | None = None

    @property
    def word(self) -> str:
        if self.unknown is not None:
            return "unknown exception"
        return "done" if self.error is None else type(self.error).__name__


def _id(parameters: tuple[str, bool]) -> str:
    name, makes_runs = parameters
    return f"{name}-{'starts' if makes_runs else 'reads'}"


@pytest.fixture(scope="module", params=GROUNDS, ids=_id)
def ground(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pipeline: Callable[[str], Path],
) -> Iterator[Ground]:
    """A project, its stand-in and the proxies, with runs to look at; nothing in the product
    waits."""
    name, makes_runs = request.param
    backend, _, version = name.partition(" ")
    folder = tmp_path_factory.mktemp(backend)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for variable in [variable for variable in os.environ if variable.startswith("KFGCP_")]:
            patch.delenv(variable)
        patch.chdir(folder)
        _never_wait(patch)
        options = {"version": version} if version else {}
        service = stack.enter_context(getattr(testing, backend)(mode="instant", **options))
        proxy = stack.enter_context(proxy_of(service.api_endpoint))
        storage = stack.enter_context(proxy_of(service.storage_endpoint))
        patch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        (folder / "kfgcp.toml").write_text(_settings(service, proxy.url))
        ground = Ground(
            backend,
            service,
            proxy,
            storage,
            _pipelines(folder, pipeline),
            _verbs(backend, makes_runs),
        )
        patch.setenv("KFGCP_HOME", str(folder / "base"))
        _add_runs(ground)
        yield ground


def _verbs(backend: str, makes_runs: bool) -> list[Verb]:
    return [verb for verb in VERBS if backend in verb.backends and verb.makes_runs is makes_runs]


def _never_wait(patch: pytest.MonkeyPatch) -> None:
    defaults: dict[str, Any] = ServiceClient.__init__.__kwdefaults__
    patch.setitem(defaults, "sleep", lambda seconds: None)
    patch.setattr("kfgcp.backends.mirror.Mirror.pace", Pace(0.001, 0.01))
    patch.setattr("kfgcp.tracking.updates.CHECK_SECONDS", 0.001)
    patch.setattr(creating, "LOOKUP_PAUSES", (0.0, 0.001))
    patch.setattr(creating, "PAUSE", 0.001)
    patch.setattr(retry, "FIRST_PAUSE", 0.0)
    patch.setattr(metadata, "LATER", 0.0)
    patch.setattr(kubeflow_logs, "PAUSE", 0.0)
    patch.setattr(vertex_logs, "POLL_SECONDS", 0.0)


def _settings(service: Any, url: str) -> str:
    """The environments `cloud`, and `tracked` or `logged`, with more of Google Cloud."""
    text = service.toml("cloud").replace(service.api_endpoint, url)
    if isinstance(service, testing.VertexStandIn):
        tracked = text.replace("[env.cloud]", "[env.tracked]")
        account = 'service_account = "runner@acme.iam.gserviceaccount.com"\n'
        return f"{text}\n{tracked}experiment_tracking = true\n{account}"
    logged = text.replace("[env.cloud]", "[env.logged]")
    return f'{text}\n{logged}project = "{service.project}"\nlogging_endpoint = "{url}"\n'


def _pipelines(folder: Path, pipeline: Callable[[str], Path]) -> dict[str, Path]:
    """Copies of compiled pipelines in the project; `imaged` has an image in Artifact Registry."""
    names = {"everything": "everything", "typed": "typed", "scores": "two_scores"}
    texts = {name: pipeline(source).read_text() for name, source in names.items()}
    texts["imaged"] = texts["scores"].replace("python:3.11", IMAGE)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return {name: folder / f"{name}.yaml" for name in texts}


def _add_runs(ground: Ground) -> None:
    """Make the base runs, an object in the bucket, and a template."""
    ground.service.instant.metrics = {"accuracy": 0.75, "loss": 1e-9}
    for name in ("everything", "typed", "scores"):
        ground.run_ids[name] = ground.submit(name).wait(60, check=False).run_id
    ground.run_ids["failed"] = ground.submit_failing().wait(60, check=False).run_id
    ground.run_ids["unfinished"] = ground.submit_unfinished().run_id
    ground.run_ids["seeded"] = ground.service.seed(4, params={"lr": 0.5}, metrics={"auc": 0.9})[-1]
    bucket = ground.service.bucket
    address = f"{ground.service.storage_endpoint}/upload/storage/v1/b/{bucket}/o"
    query = {"uploadType": "media", "name": "reports/report.html"}
    requests.post(address, params=query, data=b"<p>report</p>", timeout=60).raise_for_status()
    ground.object_uri = f"gs://{bucket}/reports/report.html"
    if isinstance(ground.service, testing.VertexStandIn):
        content = ground.pipelines["scores"].read_text()
        published = ground.service.publish("scores", content, "v1")
        ground.template = published.rpartition("/")[0] + "/v1"


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Path]:
    """A folder for state folders, in memory where there is such a file system: each case makes a
    database."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# -- the trial


@pytest.mark.trial("mutated answers of services")
def test_any_answer_ends_in_success_or_in_one_of_our_errors(
    ground: Ground, trial: Trial, homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = trial.size(sample=30, proof=2_400)
    verbs = ground.verbs
    problems: list[str] = []
    outcomes: Counter[str] = Counter()
    for case in range(cases):
        random = trial.random(case)
        verb = random.choices(verbs, [verb.weight for verb in verbs])[0]
        kinds = _kinds_of(ground, verb, homes, monkeypatch, trial)
        monkeypatch.setenv("KFGCP_HOME", str(homes / f"case{case}"))
        arranged = verb.arrange(ground, random)
        _plan(ground, kinds, random)
        outcome = _outcome(lambda: verb.act(ground, random, arranged))  # noqa: B023
        changes = [*ground.proxy.changes, *ground.storage.changes]
        _clear(ground)
        outcomes[f"{verb.name}: {outcome.word}"] += 1
        problem = _problem_with(outcome) or _problem_with_records()
        if problem:
            problems.append(
                f"--seed {trial.seed}, case {case}, {verb.name}, {'; '.join(changes)}\n{problem}"
            )
        trial.count("mutated answers", len(changes))
    print(*sorted(outcomes.items()), sep="\n")
    assert trial.counts["mutated answers"] >= cases * 0.9
    assert not problems, f"{len(problems)} of {cases} cases:\n\n" + "\n\n".join(problems)


@pytest.mark.trial("mutated answers of services")
def test_any_answer_ends_commands_with_a_line_and_never_with_code_1(
    ground: Ground,
    trial: Trial,
    homes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Command,
) -> None:
    cases = trial.size(sample=6, proof=100)
    verbs = [verb for verb in ground.verbs if verb.arguments is not None]
    problems: list[str] = []
    for case in range(cases):
        random = trial.random(case)
        verb = random.choice(verbs)
        kinds = _kinds_of(ground, verb, homes, monkeypatch, trial)
        home = str(homes / f"case{case}")
        monkeypatch.setenv("KFGCP_HOME", home)
        arranged = verb.arrange(ground, random)
        assert verb.arguments is not None
        arguments = verb.arguments(ground, random, arranged)
        _plan(ground, kinds, random)
        capsys.readouterr()
        if case % COMMANDS:
            code = main._exit_code(arguments)
            _, text = capsys.readouterr()
        else:
            result = command(
                *arguments, env={"KFGCP_HOME": home, "STORAGE_EMULATOR_HOST": ground.storage.url}
            )
            code, text = result.code, result.err
        changes = [*ground.proxy.changes, *ground.storage.changes]
        _clear(ground)
        problem = _problem_with_output(arguments[0], code, text)
        if problem:
            shown = " ".join(arguments)
            problems.append(
                f"--seed {trial.seed}, case {case}, kfgcp {shown}, {'; '.join(changes)}\n{problem}"
            )
        trial.count("mutated answers", len(changes))
    assert trial.counts["mutated answers"] >= cases * 0.5
    assert not problems, f"{len(problems)} of {cases} cases:\n\n" + "\n\n".join(problems)


def _kinds_of(
    ground: Ground, verb: Verb, homes: Path, patch: pytest.MonkeyPatch, trial: Trial
) -> list[str]:
    """The kinds of requests of a verb, from trying it without a mutation, which must succeed."""
    if verb.name in ground.kinds:
        return ground.kinds[verb.name]
    kinds: dict[str, None] = {}
    for number in range(4):
        random = trial.random("kinds", verb.name, number)
        patch.setenv("KFGCP_HOME", str(homes / f"{verb.name}-{number}"))
        arranged = verb.arrange(ground, random)
        _clear(ground)
        outcome = _outcome(lambda: verb.act(ground, random, arranged))  # noqa: B023
        if outcome.unknown is not None:
            raise outcome.unknown
        assert outcome.error is None, f"{verb.name} fails without a mutation: {outcome.error}"
        kinds.update(dict.fromkeys([*ground.proxy.kinds, *ground.storage.kinds]))
    ground.kinds[verb.name] = [*kinds]
    return ground.kinds[verb.name]


def _plan(ground: Ground, kinds: list[str], random: Random) -> None:
    """Let one answer be changed, sometimes two."""
    _clear(ground)
    for number in range(random.choice((1, 1, 1, 1, 2))):
        kind = random.choice(kinds)
        seed = f"{random.random()} {number}"
        for proxy in (ground.proxy, ground.storage):
            proxy.plan(kind, lambda answer, seed=seed: mutate(answer, Random(seed)))  # noqa: S311


def _clear(ground: Ground) -> None:
    ground.proxy.clear()
    ground.storage.clear()


def _outcome(act: Callable[[], object]) -> Outcome:
    try:
        quietly(act)
    except KfgcpError as error:
        if type(error) is KfgcpError:
            return Outcome(unknown=error)
        return Outcome(error=error)
    except Exception as error:
        return Outcome(unknown=error)
    return Outcome()


def _problem_with(outcome: Outcome) -> str:
    """What is wrong with how a case ended, empty when nothing is."""
    if outcome.unknown is not None:
        lines = traceback.format_exception(outcome.unknown)
        return "".join(lines)[-3000:]
    error = outcome.error
    if error is None:
        return ""
    if isinstance(error, MissingExtra):
        return f"an extra is missing: {error}"
    if "\n" in error.message or len(error.message) > LONGEST_MESSAGE:
        return f"the message is not one short line: {error.message!r}"
    named = any(name in error.message for name in NAMES) or "127.0.0.1" in error.message
    if (
        isinstance(error, BackendError)
        and not named
        and not error.message.startswith(("There is no", "Run "))
    ):
        return f"the message names no service: {error.message!r}"
    return ""


def _problem_with_records() -> str:
    """What of the recorded runs cannot be shown later, empty when all can."""
    home = load_project().home
    if not (home / DATABASE_NAME).exists():
        return ""
    with Store(home) as store:
        for run in store.select(RunFilter()):
            try:
                whole = store.get(run.run_id)
                json.loads(json_text(whole.to_dict()), parse_constant=_refuse_constant)
                assert whole.seconds is None or isinstance(whole.seconds, float)
            except (ValueError, TypeError, OverflowError, RecursionError, KfgcpError) as error:
                return f"run {run.run_id!r} is recorded and cannot be shown: {error!r}"
    return ""


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _problem_with_output(verb: str, code: int, text: str) -> str:
    """What is wrong with how a command ended, empty when nothing is."""
    lines = text.splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    if code == 1 or "Traceback" in text:
        return f"exit code {code}: {text}"
    if len(errors) > 1 or (code in (2, 3, 5, 8) and not errors and verb != "doctor"):
        return f"not one line: {text}"
    too_long = [line for line in errors if len(line) > LONGEST_MESSAGE]
    return f"a long line: {too_long[0]}" if too_long else ""
