"""What comes back from a service, or from something that stands in its way: which error, in which
words."""

import gzip
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import responses

from json_types import JsonDict
from kfgcp.errors import AuthError, BackendError, BadAnswer, NotFound, Refused, Unreachable
from kfgcp.services.client import ServiceClient
from kfgcp.services.responses import CODES, is_page, read_error
from kfgcp.services.transport import Response
from service_fixtures import ReceivedRequest, Reply, Server, Tokens

Client = Callable[..., ServiceClient]
EUROPE = "https://europe-west4-aiplatform.googleapis.com"
JOBS = "v1/projects/acme/locations/europe-west4/pipelineJobs"
HTML = {"Content-Type": "text/html; charset=utf-8"}
LOGIN = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in -"
    b" Google\nAccounts</title></head><body>password</body></html>"
)


def _google(status: int, message: str, code: str = "", *details: object) -> JsonDict:
    return {"error": {"code": status, "message": message, "status": code, "details": list(details)}}


def _info(reason: str, **metadata: str) -> JsonDict:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata}


def _error(server: Server, client: Client, answer: object, **how: Any) -> BackendError:
    server.answers(answer)
    with pytest.raises(BackendError) as caught:
        client(retries=0).get("x", **how)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


@responses.activate
def _asked_of_europe(client: Client, status: int, body: object, path: str = JOBS) -> Refused:
    """The error of an answer of Vertex AI in europe-west4 to a request of the project acme."""
    responses.get(f"{EUROPE}/{path}", json=body, status=status)
    with pytest.raises(Refused) as caught:
        client(EUROPE, retries=0).get(path)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


# -- errors in JSON


def test_an_error_of_google(client: Client) -> None:
    error = _asked_of_europe(client, 400, _google(400, "Bad\n  field.", "INVALID_ARGUMENT"))

    assert (error.status, error.reason, error.exit_code) == (400, "INVALID_ARGUMENT", 5)
    assert error.message == f"Vertex AI refused GET {JOBS}: Bad field. (400 INVALID_ARGUMENT)."


def test_an_error_of_kubeflow(server: Server, client: Client, reply: type[Reply]) -> None:
    body = {
        "error": "Run r not found.",
        "code": 5,
        "message": "Failed to get run: Run r not found.",
        "details": [],
    }

    error = _error(server, client, reply(body, 404))

    assert isinstance(error, NotFound)
    assert (error.status, error.reason) == (404, "NOT_FOUND")
    assert (
        error.message
        == "Vertex AI refused GET x: Failed to get run: Run r not found. (404 NOT_FOUND)."
    )


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (
            '{"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED"}}',
            "m",
            "PERMISSION_DENIED",
        ),
        (
            '[{"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED"}}]',
            "m",
            "PERMISSION_DENIED",
        ),
        ('{"error": "e", "code": 3, "message": "m"}', "m", "INVALID_ARGUMENT"),
        ('{"error": "e", "code": 16, "message": ""}', "e", "UNAUTHENTICATED"),
        ('{"error": "invalid_grant", "error_description": "Bad."}', "Bad.", ""),
        ('{"error": {"message": 5, "status": 6, "details": "x", "code": true}}', "", "CANCELLED"),
        (
            (
                '{"error": {"details": [1, {"reason": 2}, {"reason": "R", "metadata": []}]},'
                ' "code": 99}'
            ),
            "",
            "",
        ),
        ("{}", "", ""),
        ("[]", "", ""),
        ("[1]", "", ""),
        ("null", "", ""),
        ("no", "", ""),
        ("[" * 100_000, "", ""),
    ],
)
def test_errors_of_any_form(body: str, message: str, code: str) -> None:
    error = read_error(body)

    assert (error.message, error.code) == (message, code)


def test_codes_have_the_numbers_of_google_rpc() -> None:
    """google/rpc/code.proto."""
    assert [
        CODES.index(name)
        for name in ("CANCELLED", "NOT_FOUND", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED")
    ] == [
        *(1, 5, 7, 8),
    ]
    assert [CODES.index(name) for name in ("UNIMPLEMENTED", "UNAVAILABLE", "UNAUTHENTICATED")] == [
        12,
        14,
        16,
    ]


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (
            403,
            _google(
                403,
                "Vertex AI API has not been used in project 123 before or it is disabled.",
                "PERMISSION_DENIED",
                {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
                _info(
                    "SERVICE_DISABLED", service="aiplatform.googleapis.com", consumer="projects/123"
                ),
            ),
            (
                "Enable the API, then wait a minute: gcloud services enable"
                " aiplatform.googleapis.com --project acme"
            ),
        ),
        (
            403,
            _google(
                403, "Cloud Logging API has not been used in project 5 before or it is disabled."
            ),
            (
                "Enable the API, then wait a minute: gcloud services enable"
                " aiplatform.googleapis.com --project acme"
            ),
        ),
        (
            403,
            _google(
                403,
                "Permission denied on resource project acme.",
                "PERMISSION_DENIED",
                _info("CONSUMER_INVALID"),
            ),
            "Check that acme is the id of the project, and that you have access: gcloud projects"
            " describe acme",
        ),
        (
            403,
            _google(403, "Permission denied on resource project acme.", "PERMISSION_DENIED"),
            "Check that acme is the id of the project, and that you have access: gcloud projects"
            " describe acme",
        ),
        (
            403,
            _google(403, "Billing is off.", "PERMISSION_DENIED", _info("BILLING_DISABLED")),
            "Give the project acme a billing account.",
        ),
        (
            403,
            _google(
                403,
                "No.",
                "PERMISSION_DENIED",
                _info("USER_PROJECT_DENIED", consumer="projects/payer"),
            ),
            (
                "Your requests use the quota of the project payer. Ask for"
                " roles/serviceusage.serviceUsageConsumer on this project, or choose another"
                " project: gcloud auth application-default set-quota-project PROJECT"
            ),
        ),
        (
            403,
            _google(
                403,
                "Permission 'aiplatform.pipelineJobs.create' denied on resource"
                " '//aiplatform.googleapis.com/projects/acme/locations/europe-west4' (or it may not"
                " exist).",
                "PERMISSION_DENIED",
                _info("IAM_PERMISSION_DENIED", permission="aiplatform.pipelineJobs.create"),
            ),
            (
                "Ask for a role with aiplatform.pipelineJobs.create on project acme, such as"
                " roles/aiplatform.user."
            ),
        ),
        (
            403,
            _google(
                403, "Permission 'logging.logEntries.list' denied on resource.", "PERMISSION_DENIED"
            ),
            "Ask for a role with logging.logEntries.list on project acme.",
        ),
        (
            403,
            _google(403, "The caller does not have permission", "PERMISSION_DENIED"),
            "Ask for access to acme, or check that project is right in kfgcp.toml.",
        ),
        (
            403,
            _google(
                403,
                "You do not have permission to act as service account:"
                " run@acme.iam.gserviceaccount.com. (or it may not exist).",
                "PERMISSION_DENIED",
            ),
            (
                "Ask for roles/iam.serviceAccountUser on run@acme.iam.gserviceaccount.com"
                " (iam.serviceAccounts.actAs)."
            ),
        ),
        (
            400,
            _google(400, "Needs iam.serviceAccounts.actAs permission.", "INVALID_ARGUMENT"),
            (
                "Ask for roles/iam.serviceAccountUser on the service account"
                " (iam.serviceAccounts.actAs)."
            ),
        ),
        (
            403,
            _google(403, "Scopes.", "PERMISSION_DENIED", _info("ACCESS_TOKEN_SCOPE_INSUFFICIENT")),
            (
                "The sign-in lacks the scope cloud-platform. Sign in again: gcloud auth"
                " application-default login"
            ),
        ),
        (
            403,
            _google(
                403,
                "Prohibited by policy. vpcServiceControlsUniqueIdentifier: abc",
                "PERMISSION_DENIED",
            ),
            (
                "VPC Service Controls protect acme: ask its administrator to allow your network"
                " or account."
            ),
        ),
        (
            429,
            _google(429, "Quota exceeded.", "RESOURCE_EXHAUSTED"),
            (
                "Wait a minute and start fewer runs at the same time, or ask for more quota: "
                "https://console.cloud.google.com/iam-admin/quotas?project=acme"
            ),
        ),
        (
            404,
            _google(404, "Not found.", "NOT_FOUND"),
            (
                "Check the id, and the project (acme) and location (europe-west4) of the"
                " environment."
            ),
        ),
        (
            400,
            _google(400, "Unsupported region for Vertex AI.", "FAILED_PRECONDITION"),
            (
                "Check the id, and the project (acme) and location (europe-west4) of the"
                " environment."
            ),
        ),
        (409, _google(409, "Exists.", "ALREADY_EXISTS"), ""),
    ],
)
def test_what_to_do(client: Client, status: int, body: object, hint: str) -> None:
    error = _asked_of_europe(client, status, body)

    assert (error.hint, error.status) == (hint, status)


def test_the_missing_role_for_logs_is_named(client: Client) -> None:
    body = _google(403, "Permission denied for all log views", "PERMISSION_DENIED")

    error = _asked_of_europe(client, 403, body, "v2/entries:list")

    assert error.hint == "Ask for roles/logging.viewer on the project of the runs."


# -- what is no answer of the service


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"a\ud800b"', "a\ufffdb"),
        (rb'{"\udfff": ["\uD800"]}', {"\ufffd": ["\ufffd"]}),
        (b'"\xed\xa0\x80"', "\ufffd"),
        (b"1180591620717411303424", 2**70),
        (b"[1.5, -0.0, 1e308]", [1.5, -0.0, 1e308]),
    ],
)
def test_texts_are_unicode_and_numbers_are_exact(
    server: Server, client: Client, reply: type[Reply], text: bytes, value: object
) -> None:
    server.answers(reply(b'{"a": ' + text + b"}"))

    assert client().get("x") == {"a": value}


@pytest.mark.parametrize(
    ("body", "headers", "problem"),
    [
        (b"\xff\xfe\x00garbage", {}, "cannot be read as JSON: '\ufffd\ufffd garbage'"),
        (b'{"a": ', {}, "cannot be read as JSON: '{\"a\":'"),
        (b'{"a": ' + b"9" * 5000 + b"}", {}, "cannot be read as JSON"),
        (b"\n\nhello\nworld", {}, "cannot be read as JSON: 'hello'"),
        (b"[1, 2]", {}, "is JSON, but not an object: '[1, 2]'"),
        (b'"text"', {}, "is JSON, but not an object"),
        (b"null", {}, "is JSON, but not an object"),
        (b"ok", {"Content-Type": "text/plain"}, "is text/plain, not JSON: 'ok'"),
        (b'{"a": 1}', {"Content-Type": "text/plain"}, "is text/plain, not JSON"),
    ],
)
def test_an_answer_that_is_not_a_json_object(
    server: Server,
    client: Client,
    reply: type[Reply],
    body: bytes,
    headers: dict[str, str],
    problem: str,
) -> None:
    error = _error(server, client, reply(body, headers=headers))

    assert type(error) is BackendError
    assert error.message.startswith(f"The answer of Vertex AI to GET x {problem}")
    assert error.hint == "Is 127.0.0.1 the address of Vertex AI?"
    assert len(error.message) < 220


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"[" * 100_000, "it nests deeper than 200 levels"),
        (b'{"a": {"b": [1, NaN]}}', "a.b[1] is nan, a number that JSON cannot carry"),
        (b'{"a": -Infinity}', "a is -inf"),
        (b'{"a": 1e400}', "a is inf"),
        (b'{"a": 1' + b"0" * 400 + b"}", "a is a number of more than 308 digits"),
        (b'{"a": ' + b"[" * 201 + b"]" * 201 + b"}", "it nests deeper than 200 levels"),
    ],
)
def test_numbers_and_depths_that_json_cannot_carry_are_refused(
    server: Server, client: Client, reply: type[Reply], body: bytes, problem: str
) -> None:
    error = _error(server, client, reply(body))

    assert type(error) is BadAnswer
    assert error.message.startswith(f"The answer of Vertex AI to GET x cannot be used: {problem}")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=UTF-8", "APPLICATION/JSON", "application/problem+json"]
)
def test_json_by_its_other_names(
    server: Server, client: Client, reply: type[Reply], kind: str
) -> None:
    server.answers(reply(b'{"a": "\xc3\xa9"}', headers={"Content-Type": kind}))

    assert client().get("x") == {"a": "é"}


def test_a_packed_answer(server: Server, client: Client, reply: type[Reply]) -> None:
    packed = {"Content-Encoding": "gzip"}
    server.answers(reply(gzip.compress(b'{"a": 1}'), headers=packed))

    assert client().get("x") == {"a": 1}
    error = _error(server, client, reply(b"not packed", headers=packed))
    assert error.message == "Vertex AI: 127.0.0.1 sent an answer that cannot be unpacked (GET x)."


def test_an_answer_without_end_is_cut_off(
    server: Server, client: Client, reply: type[Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfgcp.services.transport.LARGEST", 1_000_000)

    error = _error(
        server, client, reply(gzip.compress(b" " * 2_000_000), headers={"Content-Encoding": "gzip"})
    )

    assert error.message == "Vertex AI: 127.0.0.1 sent more than 1 MB (GET x)."


@pytest.mark.parametrize("headers", [HTML, {}, {"Content-Type": "text/plain"}])
def test_a_sign_in_page_with_status_200(
    server: Server, client: Client, reply: type[Reply], headers: dict[str, str]
) -> None:
    error = _error(server, client, reply(LOGIN, headers=headers))

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "Vertex AI answered GET x with a web page, not with JSON; it looks like a sign-in page:"
        " 'Sign in - Google Accounts'."
    )
    assert error.hint == "Sign in again. Check the address (127.0.0.1) and the proxy, too."


@pytest.mark.parametrize("status", [401, 403])
def test_a_sign_in_page_with_an_error(
    server: Server, client: Client, reply: type[Reply], status: int
) -> None:
    error = _error(server, client, reply(LOGIN, status, HTML))

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "A sign-in page, not Vertex AI, answered GET x: 'Sign in - Google Accounts'"
        f" ({status})."
    )
    assert error.hint == "Sign in again."


@pytest.mark.parametrize(
    ("location", "host"),
    [
        (
            "https://accounts.google.com/o/oauth2/v2/auth?client_id=1&state=hush",
            "accounts.google.com",
        ),
        ("/dex/auth?client_id=kubeflow", "127.0.0.1"),
        ("https://idp.example/login", "idp.example"),
        ("https://idp.example/x?client_id=5", "idp.example"),
    ],
)
def test_a_redirect_to_a_sign_in(
    server: Server, client: Client, reply: type[Reply], location: str, host: str
) -> None:
    error = _error(server, client, reply(b"", 302, {"Location": location}))

    assert isinstance(error, AuthError)
    assert error.message == (
        f"Vertex AI did not answer GET x, but redirects to a sign-in at {host} (302)."
    )
    assert len(server.asked) == 1


def test_a_token_does_not_follow_a_redirect(
    server: Server, another_server: Server, client: Client, reply: type[Reply]
) -> None:
    for status in (301, 302, 303, 307, 308):
        error = _error(server, client, reply(b"", status, {"Location": f"{another_server.url}/x"}))

        assert isinstance(error, Unreachable)
        assert "redirects GET x to 127.0.0.1" in error.message
    assert another_server.asked == []


@pytest.mark.parametrize("location", ["", "https://[::1", "?"])
def test_a_redirect_to_nowhere(
    server: Server, client: Client, reply: type[Reply], location: str
) -> None:
    assert isinstance(_error(server, client, reply(b"", 302, {"Location": location})), Unreachable)


@pytest.mark.parametrize("status", [302, 401, 403])
def test_identity_aware_proxy(
    server: Server, client: Client, reply: type[Reply], status: int
) -> None:
    headers = HTML | {
        "X-Goog-IAP-Generated-Response": "true",
        "Location": "https://accounts.google.com/x",
    }
    server.answers(*[reply(b"no", status, headers)])

    with pytest.raises(AuthError) as caught:
        client().get("x")

    assert (
        caught.value.message
        == "Identity-Aware Proxy, in front of 127.0.0.1, did not accept the sign-in to Vertex AI"
        f" ({status})."
    )
    assert 'auth = "iap"' in caught.value.hint


@pytest.mark.parametrize("status", [403, 407, 502, 511])
def test_the_page_of_a_proxy(
    server: Server, client: Client, reply: type[Reply], status: int
) -> None:
    page = b"<html><head><title>Blocked by ACME</title></head><body>Category: cloud</body></html>"

    error = _error(server, client, reply(page, status, HTML))

    assert isinstance(error, Unreachable)
    assert "'Blocked by ACME'" in error.message
    assert str(status) in error.message
    if status != 502:
        assert error.message.startswith("A proxy or gateway, not Vertex AI, answered GET x")
        assert error.hint.startswith("Check HTTPS_PROXY and NO_PROXY")


@pytest.mark.parametrize(
    ("body", "page"),
    [
        (b"\n <!doctype HTML><p>", True),
        (b"<!-- saved -->\n<html lang=en>", True),
        (b"<body>", True),
        (b"<?xml version='1.0'?><Error/>", False),
        (b"<htmlish>", False),
        (b'{"a": "<html>"}', False),
        (b"", False),
    ],
)
def test_what_a_page_is(body: bytes, page: bool) -> None:
    assert is_page(Response(200, {"content-type": "application/json"}, body)) is page


# -- tokens do not show


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("form", ["json", "text", "html", "list"])
def test_a_token_that_is_sent_back_does_not_show(
    server: Server, client: Client, reply: type[Reply], tokens: type[Tokens], status: int, form: str
) -> None:
    """Nor a part of it, nor it in another spelling; neither of a known form nor of an unknown
    one."""
    opaque = "a1/b2+c3=" * 6

    def echo(asked: ReceivedRequest) -> Reply:
        header = asked.headers["authorization"]
        text = (
            f"denied: {header} {header[7:40]}~ {header[7:].replace('/', '%2F').replace('+', '%2B')}"
        )
        bodies: dict[str, Any] = {
            "json": _google(
                status, text, text, _info(text, service=text, consumer=f"projects/{header[7:]}")
            ),
            "text": text.encode(),
            "html": f"<html><title>Log in {text}</title>".encode(),
            "list": [text],
        }
        kind = {"html": "text/html", "text": "text/plain"}.get(form, "application/json")
        return reply(
            bodies[form], status, {"Content-Type": kind, "Location": f"https://h/login?{text}"}
        )

    for value in (opaque, "ya29.xyz-ABC_1234567890"):
        server.always(echo)
        source = tokens()
        source.values = [value]
        with pytest.raises(BackendError) as caught:
            client(source=source, retries=0).get(f"x/{value}" if form == "text" else "x")

        shown = (
            "".join(traceback.format_exception(caught.value))
            + caught.value.hint
            + repr(caught.value)
        )
        shown += str(getattr(caught.value, "reason", ""))
        assert value not in shown
        assert value[:12] not in shown
        assert value.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")[:14] not in shown


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/html"])
def test_a_token_in_an_answer_of_status_200_does_not_show(
    server: Server, client: Client, reply: type[Reply], secret: str, kind: str
) -> None:
    server.answers(reply(f"{secret} <title>{secret}".encode(), headers={"Content-Type": kind}))

    with pytest.raises(BackendError) as caught:
        client().get("x")

    assert secret not in "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert "[hidden]" in caught.value.message


def test_objects_do_not_show_their_token(
    server: Server, client: Client, tokens: type[Tokens], secret: str
) -> None:
    server.answers({})
    http = client()
    answer = http.exchange("GET", "x")

    shown = repr(http) + repr(answer) + str(answer) + repr(answer.request) + repr(tokens().get())
    assert secret not in shown
