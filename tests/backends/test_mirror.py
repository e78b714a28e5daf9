"""A mirror of the smallest service: what it does without the abilities that only some services
have."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfgcp.backends.base import (
    RunRef,
    SubmitRequest,
    SupportsArtifacts,
    SupportsDelete,
    SupportsGetWithoutLogs,
    SupportsLogs,
    SupportsNative,
    SupportsRefresh,
    SupportsRetry,
    capability,
)
from kfgcp.backends.mirror import Mirror
from kfgcp.backends.service import CanRetry, FetchedRun, ServiceFacts
from kfgcp.backends.store_records import StoreRecords
from kfgcp.errors import NotFound, UsageError
from kfgcp.model import ErrorInfo, Run, RunState, Task, TaskKind, TaskState
from kfgcp.query import RunFilter
from kfgcp.store.rows import ReadLevel
from kfgcp.store.store import Store

PLACE = "there/"
STARTED = "2026-01-02T03:04:05.678Z"
ENDED = "2026-01-02T03:05:05.678Z"
REF = RunRef("cloud", "one")
FAILURE = ErrorInfo("it failed", "train")
TRAIN = Task("train", TaskKind.CONTAINER, TaskState.SUCCEEDED, ended_at=ENDED)


class SmallService:
    """A service with the methods of `RunService` and no other."""

    place = PLACE

    def __init__(self, runs: dict[str, Run], *, cheap: bool = True) -> None:
        self.runs = runs
        self.calls: list[str] = []
        self.log_tail: tuple[str, ...] = ()
        self.facts = ServiceFacts(fetch_is_cheap=cheap)

    def notes(self, request: SubmitRequest) -> Sequence[str]:
        return ()

    def create(self, request: SubmitRequest) -> Run:
        raise AssertionError("these tests start no run")

    def fetch(self, backend_ref: str) -> FetchedRun:
        self.calls.append(f"fetch {backend_ref}")
        if backend_ref not in self.runs:
            raise NotFound("It is gone.", hint="")
        return FetchedRun(self.runs[backend_ref], ENDED)

    def changed_since(self, since: str) -> Iterator[FetchedRun]:
        self.calls.append(f"changed since {since}")
        return self._without_tasks()

    def created_between(self, since: str, until: str | None = None) -> Iterator[FetchedRun]:
        self.calls.append("created")
        return self._without_tasks()

    def newest(self, run_filter: RunFilter, limit: int) -> Iterator[FetchedRun] | None:
        self.calls.append("newest")
        return iter(())

    def explain(self, run: Run, backend_ref: str) -> Run:
        self.calls.append("explain")
        return replace(run, error=replace(FAILURE, log_tail=self.log_tail))

    def cancel(self, backend_ref: str) -> bool:
        self.calls.append(f"cancel {backend_ref}")
        return True

    def delete(self, backend_ref: str) -> None:
        self.calls.append(f"delete {backend_ref}")

    def _without_tasks(self) -> Iterator[FetchedRun]:
        for run in self.runs.values():
            yield FetchedRun(replace(run, tasks=()), ENDED)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def one(make_run: Callable[..., Run]) -> Callable[..., Run]:
    def make(state: RunState = RunState.SUCCEEDED, **fields: Any) -> Run:
        ended_at = ENDED if state.final else None
        values = {
            "env": "cloud",
            "backend_ref": f"{PLACE}one",
            "tasks": (TRAIN,),
            "ended_at": ended_at,
        }
        return make_run("one", state=state, created_at=STARTED, **values | fields)

    return make


def test_it_has_the_capabilities_that_need_nothing_of_the_service(store: Store) -> None:
    mirror = Mirror(SmallService({}), store, "cloud")

    for protocol in (SupportsGetWithoutLogs, SupportsRefresh, SupportsDelete):
        assert capability(mirror, protocol) is mirror
    for protocol in (SupportsLogs, SupportsRetry, SupportsNative, SupportsArtifacts):
        assert capability(mirror, protocol) is None


def test_a_method_of_the_service_gives_the_mirror_its_capability(
    store: Store, one: Callable[..., Run]
) -> None:
    class Service(SmallService):
        def retry(self, backend_ref: str) -> RunState:
            self.calls.append(f"retry {backend_ref}")
            state = self.runs[backend_ref].state
            self.runs[backend_ref] = one(RunState.RUNNING, tasks=())
            return state

    service = Service({f"{PLACE}one": one(RunState.CANCELLED)})
    mirror = Mirror(service, store, "cloud")
    mirror.get(REF)
    retryable = capability(mirror, SupportsRetry)

    assert isinstance(service, CanRetry)
    assert retryable is not None
    assert retryable.retry(REF) is RunState.RUNNING
    assert f"retry {PLACE}one" in service.calls
    with pytest.raises(UsageError, match="Run one is RUNNING"):
        retryable.retry(REF)


def test_an_ended_run_of_a_list_is_fetched_once(store: Store, one: Callable[..., Run]) -> None:
    service = SmallService({f"{PLACE}one": one()})
    mirror = Mirror(service, store, "cloud")

    mirror.refresh()
    mirror.refresh()

    # The second list begins a minute before the last change of the first one, because a list may
    # show a change late.
    assert service.calls == [
        "created",
        f"fetch {PLACE}one",
        "changed since 2026-01-02T03:04:05.678Z",
    ]
    assert mirror.get(REF).tasks == (TRAIN,)


def test_expensive_fields_are_fetched_when_tasks_are_requested(
    store: Store, one: Callable[..., Run]
) -> None:
    service = SmallService({f"{PLACE}one": one()}, cheap=False)
    mirror = Mirror(service, store, "cloud")

    mirror.refresh(with_tasks=False)
    assert service.calls == ["created"]
    assert store.read_level("one") is ReadLevel.LISTED

    mirror.refresh()
    assert service.calls[-1] == f"fetch {PLACE}one"
    assert store.read_level("one") is ReadLevel.EVERYTHING


def test_a_run_that_the_service_does_not_list_is_fetched(
    store: Store, one: Callable[..., Run]
) -> None:
    service = SmallService({f"{PLACE}one": one(RunState.RUNNING)})
    mirror = Mirror(service, store, "cloud")
    mirror.get(REF)
    service.runs[f"{PLACE}one"] = one()
    service.calls.clear()

    assert mirror.refresh_newest(RunFilter(), 10)

    assert service.calls == ["newest", f"fetch {PLACE}one"]
    assert store.get("one").state is RunState.SUCCEEDED


def test_a_failure_is_explained_until_there_is_a_log(store: Store, one: Callable[..., Run]) -> None:
    service = SmallService({f"{PLACE}one": one(RunState.FAILED, error=FAILURE)})
    mirror = Mirror(service, store, "cloud")

    assert mirror.get_without_logs(REF).error == FAILURE
    mirror.get(REF)
    service.log_tail = ("the last line",)
    explained = mirror.get(REF)

    assert explained.error == replace(FAILURE, log_tail=("the last line",))
    assert mirror.get(REF) == explained
    assert service.calls == [f"fetch {PLACE}one", "explain", "explain"]


def test_a_run_that_has_not_ended_cannot_be_deleted(store: Store, one: Callable[..., Run]) -> None:
    service = SmallService({f"{PLACE}one": one(RunState.CANCELLING)})
    mirror = Mirror(service, store, "cloud")

    with pytest.raises(UsageError, match="Run one is CANCELLING"):
        mirror.delete(REF)
    assert f"delete {PLACE}one" not in service.calls

    service.runs[f"{PLACE}one"] = one(RunState.CANCELLED)
    mirror.delete(REF)
    assert service.calls[-1] == f"delete {PLACE}one"
    assert store.select() == []


def test_a_run_deleted_on_the_service_is_recorded_as_cancelled(
    store: Store, one: Callable[..., Run]
) -> None:
    running = replace(TRAIN, state=TaskState.RUNNING, ended_at=None)
    service = SmallService({f"{PLACE}one": one(RunState.RUNNING, tasks=(running,))})
    mirror = Mirror(service, store, "cloud")
    mirror.get(REF)
    service.runs.clear()

    with pytest.raises(NotFound, match="Run one was deleted"):
        mirror.get(REF)

    recorded = store.get("one")
    assert recorded.state is RunState.CANCELLED
    assert [task.state for task in recorded.tasks] == [TaskState.CANCELLED]


def test_records_belong_to_a_place_and_a_kind(store: Store) -> None:
    records = StoreRecords(store)

    records.remember_names("here/", "experiment", {"1": "churn", "2": "gone"})
    records.remember_names("here/", "experiment", {}, gone=["2"])

    assert records.names("here/", "experiment") == {"1": "churn"}
    assert records.names("here/", "version") == {}
    assert records.names("there/", "experiment") == {}
    assert records.complete_since("here/") is None
