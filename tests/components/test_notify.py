"""Messages to a webhook, sent over real sockets to a server of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from kfp import dsl

from kfgcp_components import notify_on_exit
from kfgcp_components.operate.notify.logic import MAX_TEXT, Message, WebhookError, read_url, send
from kfgcp_components.operate.notify_on_exit.logic import describe_end

# Each path of a webhook is a secret.
SECRET = "T0-very-secret"  # noqa: S105


@dataclass
class Webhook:
    """A webhook, and what it got.

    answers: the next answers as (status, headers). Then every message is taken.
    """

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    received = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            received.headers.append(dict(self.headers))
            status, headers = received.answers.pop(0) if received.answers else (204, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Write no log."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_address[1]}/{SECRET}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield received
        server.shutdown()
        thread.join()


class Clock:
    """A clock that only pauses move. pauses: their lengths in seconds."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def time(self) -> float:
        return sum(self.pauses)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_program_gets_the_text_and_the_facts(webhook: Webhook) -> None:
    send(webhook.url, Message("done", {"rows": 3}))

    assert json.loads(webhook.bodies[0]) == {"text": "done", "rows": 3}
    assert webhook.headers[0]["Content-Type"] == "application/json"


def test_slack_gets_escaped_text_only(webhook: Webhook) -> None:
    send(webhook.url, Message("<!channel> a & b", {"rows": 3}), format="slack")

    assert json.loads(webhook.bodies[0]) == {"text": "&lt;!channel&gt; a &amp; b"}


def test_a_long_text_is_cut() -> None:
    body = json.loads(Message("ä" * (MAX_TEXT + 1)).body("json"))

    assert body["text"] == "ä" * (MAX_TEXT - 1) + "…"


def test_a_service_that_is_not_ready_is_asked_again(webhook: Webhook, clock: Clock) -> None:
    webhook.answers = [(503, {}), (500, {}), (429, {"Retry-After": "7"}), (408, {})]

    send(webhook.url, Message("done"), timeout=60, sleep=clock.sleep, clock=clock.time)

    assert clock.pauses == [1.0, 2.0, 7.0, 8.0]
    assert len(webhook.bodies) == 5
    keys = {headers["Idempotency-Key"] for headers in webhook.headers}
    assert len(keys) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 301, 302, 307])
def test_a_refusal_is_final(webhook: Webhook, clock: Clock, status: int) -> None:
    webhook.answers = [(status, {"Location": "http://127.0.0.1:9/other"})]

    with pytest.raises(WebhookError, match=f"127.0.0.1 did not take the message: status {status}"):
        send(webhook.url, Message("done"), sleep=clock.sleep, clock=clock.time)
    assert (clock.pauses, len(webhook.bodies)) == ([], 1)


def test_a_service_that_is_never_ready_is_given_up(webhook: Webhook, clock: Clock) -> None:
    webhook.answers = [(503, {})] * 20

    with pytest.raises(WebhookError, match="status 503"):
        send(webhook.url, Message("done"), timeout=5, sleep=clock.sleep, clock=clock.time)
    # 4 more seconds would end after the limit.
    assert clock.pauses == [1.0, 2.0]


def test_a_service_that_wants_a_long_pause_is_given_up(webhook: Webhook, clock: Clock) -> None:
    webhook.answers = [(429, {"Retry-After": "86400"})]

    with pytest.raises(WebhookError, match="status 429"):
        send(webhook.url, Message("done"), timeout=60, sleep=clock.sleep, clock=clock.time)
    assert clock.pauses == []


def test_the_secret_url_is_not_in_the_error(clock: Clock) -> None:
    # Port 9 of this machine does not listen.
    with pytest.raises(WebhookError) as error:
        send(
            f"http://127.0.0.1:9/{SECRET}",
            Message("done"),
            timeout=2,
            sleep=clock.sleep,
            clock=clock.time,
        )

    assert "127.0.0.1 did not take the message" in str(error.value)
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_url_can_be_in_a_variable(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_URL", webhook.url)

    send("env:SLACK_URL", Message("done"))

    assert len(webhook.bodies) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("env:NOT_SET", "the environment variable NOT_SET for the webhook is not set"),
        ("", "must begin with https://HOST"),
        (f"file:///{SECRET}", "must begin with https://HOST"),
        (f"https:///{SECRET}", "must begin with https://HOST"),
        (f"https://hooks.example/{SECRET} x", "has a space, a user or a wrong port"),
        (f"https://user:{SECRET}@hooks.example/", "has a space, a user or a wrong port"),
        (f"https://hooks.example:{SECRET}/", "has a space, a user or a wrong port"),
        (f"https://user:{SECRET}@[::1/", "has a wrong host; copy it again"),
        (f"https://hooks.example/{SECRET}/ü", r"webhook at 'hooks\.example' has a character that"),
        (f"https://hüoks.example/{SECRET}", r"webhook at 'h.xfcoks\.example' has a character that"),
        # Unicode's normal form of this character is a/c, and a host cannot have a slash.
        (f"https://user:{SECRET}@hooks\u2100.example/", "has a wrong host; copy it again"),
    ],
)
def test_a_url_that_is_not_a_webhook(url: str, message: str) -> None:
    with pytest.raises(WebhookError, match=message) as error:
        read_url(url)
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("host", ["hooks..example", f"{'x' * 64}.example"])
def test_a_host_that_no_name_server_can_have_is_final(host: str, clock: Clock) -> None:
    with pytest.raises(
        WebhookError, match="its host has an empty part, or a part of more"
    ) as error:
        send(
            f"http://{host}/{SECRET}",
            Message("done"),
            sleep=clock.sleep,
            clock=clock.time,
        )
    assert (clock.pauses, SECRET in str(error.value)) == ([], False)


def test_arguments_that_make_no_sense(webhook: Webhook) -> None:
    with pytest.raises(ValueError, match="format must be one of json, slack, not 'xml'"):
        send(webhook.url, Message("done"), format="xml")
    with pytest.raises(ValueError, match="timeout must be a positive number of seconds, not 0"):
        send(webhook.url, Message("done"), timeout=0)
    assert webhook.bodies == []


# -- the end of a run


@pytest.mark.parametrize(
    ("on", "state", "is_sent"),
    [
        ("failure", "FAILED", True),
        ("failure", "CANCELLED", True),
        ("failure", "SUCCEEDED", False),
        ("success", "SUCCEEDED", True),
        # Kubeflow Pipelines 2 says COMPLETE.
        ("success", "COMPLETE", True),
        ("success", "FAILED", False),
        ("always", "COMPLETE", True),
    ],
)
def test_the_end_of_a_run_is_told_to_those_who_want_it(on: str, state: str, is_sent: bool) -> None:
    message = describe_end("churn", "run-1", state, "", on=on)

    assert (message is not None) is is_sent


def test_the_text_about_a_failed_run_has_the_first_cause_and_a_link() -> None:
    message = describe_end(
        "churn", "run-1", "FAILED", "no\n  data", on="always", run_url="https://console/run-1"
    )

    assert message is not None
    assert message.text == "churn FAILED: no data (run run-1) https://console/run-1"
    assert message.facts == {
        "pipeline": "churn",
        "run_id": "run-1",
        "state": "FAILED",
        "error": "no data",
        "run_url": "https://console/run-1",
    }


@pytest.mark.parametrize("url", ["env:NOT_SET", f"https://hooks.example/{SECRET}/ü"])
def test_a_webhook_that_does_not_work_fails_the_task_only_when_it_is_important(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    status = dsl.PipelineTaskFinalStatus(
        state="SUCCEEDED",
        pipeline_job_resource_name="run-1",
        pipeline_task_name="tasks",
        error_code=0,
        error_message="",
    )
    arguments = {"url": url, "status": status, "pipeline": "churn", "on": "always"}

    notify_on_exit.python_func(**arguments, fail=False)

    line = json.loads(capsys.readouterr().out)
    assert line["severity"] == "WARNING"
    assert line["message"].startswith("not delivered: the ")
    assert SECRET not in line["message"]
    with pytest.raises(WebhookError):
        notify_on_exit.python_func(**arguments)


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(ValueError, match="on must be one of always, failure, success, not 'ever'"):
        describe_end("churn", "run-1", "FAILED", "", on="ever")
