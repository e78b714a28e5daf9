"""Each kind of fault, as a client sees it over real sockets."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import requests

from json_types import JsonDict
from kfgcp.errors import UsageError
from patience import REQUEST, WaitFor
from stand_in_apis import VertexApi


def _outcome(quick: VertexApi, path: str = "pipelineJobs") -> str:
    """Return in one word how a request ended. Each request has its own connection."""
    try:
        answer = requests.get(quick.url(path), timeout=REQUEST)
        answer.json()
        return str(answer.status_code)
    except requests.exceptions.JSONDecodeError:
        return "garbage"
    except requests.exceptions.ConnectionError as error:
        return "reset" if "reset" in str(error).lower() else "closed"


def test_a_scripted_fault_befalls_the_next_requests_and_no_more(quick: VertexApi) -> None:
    quick.env.fail_next("503", times=2)
    quick.env.fail_next("reset")

    assert [_outcome(quick) for _ in range(4)] == ["503", "503", "reset", "200"]
    assert [request.fault for request in quick.env.requests] == ["503", "503", "reset", None]
    assert [request.status for request in quick.env.requests] == [503, 503, None, 200]


def test_a_scripted_fault_waits_for_its_request(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    quick.env.fail_next("500", method="POST", path="*/pipelineJobs")

    assert _outcome(quick) == "200"
    assert quick.env.unused_faults == ["500 (1 times, */pipelineJobs)"]
    assert quick.refused(quick.post("pipelineJobs", body_of("echo")))[:2] == (500, "INTERNAL")
    assert quick.env.unused_faults == []
    assert quick.env.jobs() == []


def test_an_answer_is_lost_after_the_work_was_done(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    quick.env.fail_next("lost", method="POST")

    with pytest.raises(requests.exceptions.ConnectionError):
        requests.post(
            quick.url("pipelineJobs?pipelineJobId=once"), json=body_of("echo"), timeout=REQUEST
        )

    assert quick.env.jobs() == ["once"]
    again = quick.post("pipelineJobs", body_of("echo"), pipelineJobId="once")
    assert again.status_code == 409
    assert [request.status for request in quick.env.requests.select("POST")] == [None, 409]


def test_the_work_may_be_done_after_the_connection_was_closed(
    quick: VertexApi,
    body_of: Callable[..., JsonDict],
    eventually: WaitFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = threading.Event()
    monkeypatch.setattr(quick.env._server, "before_late_work", lambda: closed.wait(REQUEST))
    quick.env.fail_next("late", method="POST")

    with pytest.raises(requests.exceptions.ConnectionError):
        requests.post(
            quick.url("pipelineJobs?pipelineJobId=later"), json=body_of("echo"), timeout=REQUEST
        )

    assert quick.env.jobs() == []
    closed.set()
    eventually(lambda: quick.env.jobs() == ["later"])
    assert [request.status for request in quick.env.requests.select("POST")] == [None]


def test_a_reset_connection_did_nothing(quick: VertexApi, body_of: Callable[..., JsonDict]) -> None:
    quick.env.fail_next("reset", method="POST")

    with pytest.raises(requests.exceptions.ConnectionError, match="reset"):
        requests.post(
            quick.url("pipelineJobs?pipelineJobId=never"), json=body_of("echo"), timeout=REQUEST
        )

    assert quick.env.jobs() == []


def test_garbage_is_200_and_no_json(quick: VertexApi) -> None:
    quick.env.fail_next("garbage")

    answer = quick.call("GET", "pipelineJobs")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.text.startswith("<html>")


@pytest.mark.parametrize(
    ("kind", "status"), [("429", "RESOURCE_EXHAUSTED"), ("503", "UNAVAILABLE")]
)
def test_a_status_can_say_when_to_come_back(quick: VertexApi, kind: str, status: str) -> None:
    quick.env.fail_next(kind, retry_after=7)
    quick.env.fail_next(kind)

    first_answer = quick.call("GET", "pipelineJobs")
    second_answer = quick.call("GET", "pipelineJobs")

    assert first_answer.headers["Retry-After"] == "7"
    assert "Retry-After" not in second_answer.headers
    assert quick.refused(first_answer)[:2] == (int(kind), status)


def test_faults_come_at_their_rate_the_same_ones_for_the_same_seed(quick: VertexApi) -> None:
    def outcomes() -> list[str]:
        quick.env.faults(0.4, ("503", "429", "reset", "lost"), seed=3)
        return [_outcome(quick) for _ in range(100)]

    first_outcomes, second_outcomes = outcomes(), outcomes()

    assert first_outcomes == second_outcomes
    counts = Counter(first_outcomes)
    assert set(counts) == {"200", "503", "429", "reset", "closed"}
    assert 45 <= counts["200"] <= 75
    quick.env.faults(0)
    assert {_outcome(quick) for _ in range(20)} == {"200"}


def test_faults_at_a_rate_keep_to_their_method_and_path(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    quick.env.faults(1, ("503",), method="POST", path="*/pipelineJobs")

    assert quick.post("pipelineJobs", body_of("echo")).status_code == 503
    assert quick.call("GET", "pipelineJobs").status_code == 200


def test_every_request_waits_for_the_latency(quick: VertexApi) -> None:
    quick.env.latency = 0.2
    start = time.monotonic()
    assert _outcome(quick) == "200"

    assert time.monotonic() - start >= 0.2
    quick.env.latency = 0


def test_offline_closes_new_and_open_connections(quick: VertexApi) -> None:
    assert quick.call("GET", "pipelineJobs").status_code == 200

    with quick.env.offline():
        assert _outcome(quick) in ("closed", "reset")
        with pytest.raises(requests.exceptions.ConnectionError):
            quick.call("GET", "pipelineJobs")
    assert _outcome(quick) == "200"
    assert len(quick.env.requests) == 2  # what is offline sees nothing


def test_offline_can_end_by_itself(quick: VertexApi, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("kfgcp.testing.faults.time", SimpleNamespace(monotonic=lambda: now))
    quick.env.offline(60)

    now += 59
    assert _outcome(quick) in ("closed", "reset")
    now += 1
    assert _outcome(quick) == "200"


def _with(quick: VertexApi, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return int(
        requests.get(quick.url("pipelineJobs"), headers=headers, timeout=REQUEST).status_code
    )


def test_any_token_and_none_are_good_until_some_are_named(quick: VertexApi) -> None:
    assert [_with(quick, token) for token in ("a", None)] == [200, 200]

    quick.env.accept_tokens("a", "b")
    assert [_with(quick, token) for token in ("a", "b", "c", None)] == [200, 200, 401, 401]
    quick.env.accept_tokens()
    assert [_with(quick, token) for token in ("c", None)] == [200, 200]


def test_expired_tokens_are_refused_until_a_new_one_comes(quick: VertexApi) -> None:
    assert _with(quick, "old") == 200

    quick.env.expire_tokens()

    assert [_with(quick, token) for token in ("old", "old", None, "new", "new", "old")] == [
        401,
        401,
        401,
        200,
        200,
        401,
    ]
    answer = quick.call("GET", "pipelineJobs")
    assert quick.refused(answer)[:2] == (401, "UNAUTHENTICATED")


def test_requests_are_recorded_without_their_token(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    body = body_of("echo")
    mark = len(quick.env.requests)
    quick.call(
        "POST",
        "pipelineJobs?pipelineJobId=a",
        json=body,
        headers={"Authorization": "Bearer secret", "X-A": "b"},
    )
    quick.get("pipelineJobs/a")

    (created,) = quick.env.requests.select("POST", "*/pipelineJobs", since=mark)
    assert created.query == {"pipelineJobId": "a"}
    assert created.body == body
    assert created.headers["x-a"] == "b"
    assert "secret" not in repr(created)
    assert quick.env.requests.count(since=mark) == 2
    assert quick.env.requests.count("GET", since=mark + 1) == 1
    assert quick.env.requests[-1].path.endswith("/pipelineJobs/a")


def test_there_are_no_other_faults(quick: VertexApi) -> None:
    for kind in ("200", "slow", "5033", ""):
        with pytest.raises(UsageError, match="no fault"):
            quick.env.fail_next(kind)


def test_a_port_that_is_taken_is_a_usage_error(quick: VertexApi) -> None:
    from kfgcp.testing import vertex

    taken_port = int(quick.env.api_endpoint.rpartition(":")[2])
    for ports in ({"port": taken_port}, {"storage_port": taken_port}):
        with pytest.raises(UsageError, match=f"Port {taken_port} "):
            vertex(**ports)
