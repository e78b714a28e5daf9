"""Every recorded request to a real server, sent to the stand-in in the recorded order.

The answers of the stand-in must be like the recorded answers. `recorded_differences.py` says what
is compared. `ALLOWED` has the differences that remain, each with its reason. A difference that is
not in `ALLOWED` fails the test, and so does an entry of `ALLOWED` without a difference.

The stand-in gets the ids and the times of the recording, so that lists have the same order. The
tests bring runs into the recorded states with what the stand-in offers every test:
`runs.reporting`, `instant`, `finish_runs`, and the flags of a run.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import requests

from exchanges import VERSIONS, Exchange, exchange, exchanges
from json_types import JsonDict
from kfgcp.testing import KubeflowStandIn, kubeflow
from patience import REQUEST
from recorded_differences import differences

CASES = [
    (version, recorded.name) for version in (*VERSIONS, "2.5.0") for recorded in exchanges(version)
]


@dataclass(frozen=True)
class Allowed:
    """Differences that may be there. lines: as `differences` tells them."""

    reason: str
    lines: tuple[str, ...]


def _row(name: str, children: int) -> str:
    """Return a task as `differences` describes it: name, state, number of children, keys."""
    keys = (
        "child_tasks create_time display_name end_time run_id start_time state state_history"
        " task_id"
    )
    return f"{name} SUCCEEDED {children} {keys}"


SHAPES = Allowed(
    "The recorder, which played Argo, reported two iterations of the loop, though its default has"
    " three items.",
    (
        f"task missing: {_row('iteration-iterations', 2)}",
        f"task not in the recording: {_row('double', 1)}",
        f"task not in the recording: {_row('double-driver', 1)}",
        f"task not in the recording: {_row('executor', 1)}",
        f"task not in the recording: {_row('iteration-item', 1)}",
        f"task not in the recording: {_row('iteration-item-driver', 1)}",
        f"task not in the recording: {_row('iteration-iterations', 3)}",
        f"task not in the recording: {_row('iteration-iterations(2:2)', 1)}",
    ),
)
OLD_NUMBER = Allowed(
    "Older servers write the number as a character that does not exist. Nobody reads it.",
    (
        "details[0].message: 'The page size should be greater than 0. Got -1', "
        "not \"The page size should be greater than 0. Got '\ufffd'\"",
    ),
)
ALLOWED: Mapping[str, Mapping[str, Allowed]] = {
    "2.17.0": {"run-get-shapes": SHAPES},
    "2.14.3": {
        "run-get-shapes": SHAPES,
        "runs-list-page-2": SHAPES,
        "runs-list-page-size-minus-1": OLD_NUMBER,
    },
    "2.5.0": {
        "run-get-shapes": SHAPES,
        "runs-list-page-size-minus-1": OLD_NUMBER,
        "runs-list-filter-not-json": Allowed(
            "It reads JSON with another library, which has other words for it.",
            (
                (
                    'details[0].message: \'failed to parse valid filter from "not json": proto:'
                    " syntax ', not 'failed to parse valid filter from \"not json\": invalid"
                    " charac'"
                ),
            ),
        ),
    },
}


@pytest.mark.recorded(
    "Stand-in: the answer to every recorded request", "api-2.17.0", "api-2.14.3", "api-2.5.0"
)
@pytest.mark.parametrize(("version", "name"), CASES)
def test_the_answer_is_like_the_recorded_one(
    found_differences: Callable[[str], dict[str, list[str]]], version: str, name: str
) -> None:
    allowed = ALLOWED[version].get(name)
    expected = list(allowed.lines) if allowed else []

    assert found_differences(version)[name] == expected


def test_allowed_differences_are_those_of_recorded_exchanges() -> None:
    for version, table in ALLOWED.items():
        assert set(table) <= {exchange.name for exchange in exchanges(version)}


@pytest.fixture(scope="module")
def found_differences() -> Callable[[str], dict[str, list[str]]]:
    """Return the differences of each exchange of a version. A version is replayed once."""
    replayed: dict[str, dict[str, list[str]]] = {}

    def of(version: str) -> dict[str, list[str]]:
        if version not in replayed:
            with Replay(version) as replay:
                replayed[version] = dict(replay.run())
        return replayed[version]

    return of


class Replay:
    """The replay of the recordings of a version.

    It has two stand-ins, the second one with users, and the recorded exchanges.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.tokens: dict[str, str] = {}  # recorded page token -> the stand-in's
        self.session = requests.Session()
        self._stack = ExitStack()

    def __enter__(self) -> "Replay":
        self.env = self._stack.enter_context(kubeflow(mode="instant", version=self.version))
        shared = kubeflow(
            mode="instant", version=self.version, multi_user=True, namespaces=("growth", "risk")
        )
        self.shared = self._stack.enter_context(shared)
        self.shared.access.users = {"growth@example.com": ["growth"], "risk@example.com": ["risk"]}
        for env in (self.env, self.shared):
            env.instant.seconds = 3600
            env.runs.reporting = "nothing"
            env.runs.workflow_defaults = False  # as the recorder reported workflows
        self._stack.enter_context(self.session)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> Iterator[tuple[str, list[str]]]:
        """Send every request, and return the differences of each answer."""
        for recorded in exchanges(self.version):
            prepare = PREPARATIONS.get(recorded.name)
            if prepare is not None:
                prepare(self)
            status, answer = self.send(recorded)
            yield recorded.name, differences(recorded, status, answer)

    def send(self, recorded: Exchange) -> tuple[int, JsonDict]:
        """Send a recorded request to the stand-in, and return the status and the answer."""
        env = self.shared if recorded.name.startswith("mu-") else self.env
        self.give_identity(env, recorded)
        query = dict(recorded.query)
        if query.get("page_token") in self.tokens:
            query["page_token"] = self.tokens[query["page_token"]]
        body = BODIES.get(recorded.name, recorded.body)
        options: dict[str, Any] = {}
        if isinstance(body, bytes):
            options["data"] = body
        elif isinstance(body, dict) and "multipart" in body:
            parts = body["multipart"].items()
            options["files"] = {name: (part["filename"], part["content"]) for name, part in parts}
        elif body is not None:
            options["json"] = body
        url, headers = env.host + recorded.path, dict(recorded.headers)
        answer = self.session.request(
            recorded.method, url, params=query, headers=headers, timeout=REQUEST, **options
        )
        value: Any = answer.text
        if answer.headers["Content-Type"].startswith("application/json"):
            value = answer.json()
        if (
            isinstance(value, dict)
            and isinstance(recorded.answer, dict)
            and "next_page_token" in recorded.answer
        ):
            self.tokens[recorded.answer["next_page_token"]] = value.get("next_page_token", "")
        return answer.status_code, value

    def give_identity(self, env: KubeflowStandIn, recorded: Exchange) -> None:
        """Give the object that a request creates the recorded id and time."""
        answer = recorded.answer if isinstance(recorded.answer, dict) else {}
        if recorded.method != "POST" or "created_at" not in answer:
            return
        names = (
            "pipeline_version_id",
            "run_id",
            "recurring_run_id",
            "pipeline_id",
            "experiment_id",
        )
        kinds = {
            "runs": "run_id",
            "recurringruns": "recurring_run_id",
            "experiments": "experiment_id",
        }
        collection = recorded.path.rpartition("/")[2]
        name = kinds.get(collection) or next(name for name in names if name in answer)
        ids = [answer[name]]
        if recorded.name == "pipeline-upload":
            versions = exchange("pipeline-versions-list", self.version).answer["pipeline_versions"]
            name = recorded.query["name"]
            ids += [
                version["pipeline_version_id"]
                for version in versions
                if version["display_name"] == name
            ]
        give(env, answer["created_at"], *ids)

    def make(self, name: str) -> str:
        """Create the run of a recorded answer whose request was not recorded, and return its id."""
        answer = exchange(name, self.version).answer
        give(self.env, answer["created_at"], answer["run_id"])
        sent = ("display_name", "description", "experiment_id", "pipeline_spec", "runtime_config")
        body = {key: answer[key] for key in sent if key in answer}
        url = f"{self.env.host}/apis/v2beta1/runs"
        response = self.session.post(url, json=body, timeout=REQUEST)
        assert response.status_code == 200, response.text
        run_id: str = response.json()["run_id"]
        assert run_id == answer["run_id"]
        return run_id

    def id_of(self, name: str) -> str:
        """Return the id in the path of a recorded request."""
        return exchange(name, self.version).path.rpartition("/")[2].partition(":")[0]

    def ended(self, run_id: str) -> None:
        """End the running runs, and report one."""
        self.env.finish_runs()
        self.env.runs.report(run_id)


def give(env: KubeflowStandIn, created: str, *ids: str) -> None:
    """Give the next new objects these ids and this time. Later objects get ids of their own."""
    identities = iter(ids)
    env.creation.make_id = lambda: next(identities, None) or str(uuid.uuid4())
    env.creation.clock = lambda: datetime.fromisoformat(created).timestamp()


def running(replay: Replay) -> None:
    replay.env.runs.report(replay.id_of("run-get-running"))


def succeeded(replay: Replay) -> None:
    replay.ended(replay.id_of("run-get-succeeded"))


def cached(replay: Replay) -> None:
    replay.env.instant.cached = {"say"}
    replay.ended(replay.make("run-get-cached"))
    replay.env.instant.cached = set()


def failed(replay: Replay) -> None:
    replay.env.instant.failing = {"boom": "on purpose"}
    replay.ended(replay.make("run-get-failed"))
    replay.env.instant.failing = {}


def shapes(replay: Replay) -> None:
    replay.env.instant.skipped = {"condition-2"}
    replay.ended(replay.make("run-get-shapes"))
    replay.env.instant.skipped = set()


def guarded(replay: Replay) -> None:
    replay.env.instant.failing = {"broken": "on purpose"}


def guarded_ended(replay: Replay) -> None:
    replay.ended(replay.id_of("run-get-exit-handler"))
    replay.env.instant.failing = {}


def stopped(replay: Replay) -> None:
    replay.env.runs.report(replay.make("run-get-canceling"))


def stopped_ended(replay: Replay) -> None:
    replay.env.runs.report(replay.id_of("run-get-canceled"))


def gone(replay: Replay) -> None:
    record = replay.env.runs.find(replay.make("run-get-canceling-forever"))
    assert record is not None
    record.workflow_gone = True


def retried_ended(replay: Replay) -> None:
    replay.ended(replay.id_of("run-get-retried"))


def unreadable(replay: Replay) -> None:
    answer = exchange("run-get-not-converted", replay.version).answer
    comes_first = "error" in exchange("runs-list-not-converted", replay.version).answer["runs"][0]
    give(replay.env, "2026-11-29T09:11:50Z", answer["run_id"])
    (run_id,) = replay.env.seed(1, experiment="churn", age=10**9 if comes_first else 0)
    record = replay.env.runs.find(run_id)
    assert record is not None
    record.unreadable = True


PREPARATIONS: Mapping[str, Callable[[Replay], None]] = {
    "run-get-running": running,
    "run-get-succeeded": succeeded,
    "run-get-cached": cached,
    "run-get-failed": failed,
    "run-get-shapes": shapes,
    "run-create-exit-handler": guarded,
    "run-get-exit-handler": guarded_ended,
    "run-terminate": stopped,
    "run-get-canceled": stopped_ended,
    "run-terminate-workflow-gone": gone,
    "run-get-retried-succeeded": retried_ended,
    "run-get-not-converted": unreadable,
}
"""What happened before a request, besides the requests before it."""


def too_big() -> JsonDict:
    body = json.loads(json.dumps(exchange("run-create").body))
    body["runtime_config"]["parameters"] = {"text": 2_000_000 * "x"}
    return {
        "display_name": "big",
        **{key: body[key] for key in ("pipeline_spec", "runtime_config")},
    }


BODIES: Mapping[str, Any] = {"run-create-not-json": b"{bad", "run-create-too-big": too_big()}
"""Bodies that the recordings only describe."""
