"""Looks into buckets: only what is shown is asked for, and what goes wrong is one of our errors."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from kfgcp.errors import AuthError, ConfigError, NotFound, Refused, Unreachable
from kfgcp.services.storage import preview, retry
from kfgcp.testing.storage import Storage

OBJECTS = {
    "page.html": b"<p>" + b"x" * 50_000,
    "empty.txt": b"",
    "many/b.txt": b"b",
    "many/deep/c.txt": b"c",
    "many/": b"",
    "many-more.txt": b"no",
}
STATUSES = {"denied.txt": 403, "unsigned.txt": 401, "strange.txt": 418}


@dataclass
class Bucket:
    """The bucket `shared`, in the words of Cloud Storage and of S3. sent: bytes of objects that
    were sent."""

    url: str = ""
    sent: int = 0
    asked: list[str] = field(default_factory=list)


def served(bucket: Bucket) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            asked = {key: values[0] for key, values in parse_qs(url.query).items()}
            if url.path in ("/storage/v1/b/shared/o", "/shared") or url.path == "/shared/":
                prefix = asked.get("prefix", "")
                names = sorted(name for name in OBJECTS if name.startswith(prefix))
                self.answer(200, listing(names, as_xml=url.path.startswith("/shared")))
                return
            name = unquote(url.path.partition("/o/")[2] or url.path.removeprefix("/shared/"))
            content = OBJECTS.get(name)
            if content is None:
                self.answer(STATUSES.get(name, 404), b"said\nno")
            elif not content:
                self.answer(416, b"")
            else:
                bucket.asked.append(self.headers["Range"])
                first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                part = content[first : last + 1]
                bucket.sent += len(part)
                self.answer(
                    206,
                    part,
                    {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"},
                )

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for header, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def listing(names: list[str], *, as_xml: bool) -> bytes:
    if not as_xml:
        return json.dumps(
            {"items": [{"name": name, "bucket": "shared"} for name in names]}
        ).encode()
    items = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in names)
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    new_bucket = Bucket()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), served(new_bucket))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    new_bucket.url = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "STORAGE_EMULATOR_HOST": new_bucket.url,
        "AWS_ENDPOINT_URL": new_bucket.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    yield new_bucket
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["gs", "s3", "minio"])
def root(request: pytest.FixtureRequest, bucket: Bucket) -> str:
    if request.param != "gs":
        pytest.importorskip("boto3", reason="the extra s3 is not installed")
    return f"{request.param}://shared"


def test_no_more_of_an_object_is_asked_for_than_is_wanted(root: str, bucket: Bucket) -> None:
    assert preview.read_beginning(f"{root}/page.html", 5) == b"<p>xx"
    assert bucket.asked == ["bytes=0-4"]
    assert bucket.sent == 5


def test_a_short_object_is_whole(root: str) -> None:
    assert preview.read_beginning(f"{root}/many/b.txt", 1000) == b"b"
    assert preview.read_beginning(f"{root}/empty.txt", 1000) == b""


def test_a_uri_without_an_object_may_be_a_folder(root: str) -> None:
    for uri in (f"{root}/many", f"{root}/many/"):
        assert preview.read_beginning(uri, 10) is None
        assert preview.list_names(uri, 10) == ["b.txt", "deep/c.txt"]
    assert preview.list_names(f"{root}/many", 1) == ["b.txt"]
    assert preview.list_names(f"{root}/absent", 10) == []
    assert len(preview.list_names(root, 10)) == len(OBJECTS)


@pytest.mark.parametrize(
    ("name", "kind", "problem"),
    [
        ("denied.txt", Refused, "You are not allowed to read {}: "),
        ("unsigned.txt", AuthError, "{} cannot be read without signing in: "),
        ("strange.txt", Refused, "{} cannot be read: "),
    ],
)
def test_a_refusal_is_reported_in_one_line(
    root: str, name: str, kind: type[Exception], problem: str
) -> None:
    with pytest.raises(kind) as raised:
        preview.read_beginning(f"{root}/{name}", 10)

    message = raised.value.message  # type: ignore[attr-defined]
    assert message.startswith(problem.format(f"{root}/{name}"))
    assert "\n" not in message


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_store_that_does_not_answer_cannot_be_reached(
    scheme: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    if scheme == "s3":
        pytest.importorskip("boto3", reason="the extra s3 is not installed")
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    for name in ("STORAGE_EMULATOR_HOST", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # discard: nothing listens there

    with pytest.raises(Unreachable, match=f"^{scheme}://shared/a.txt cannot be read: "):
        preview.read_beginning(f"{scheme}://shared/a.txt", 10)


def test_a_minio_server_without_an_address_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConfigError, match="s3_endpoint and AWS_ENDPOINT_URL are not set") as raised:
        preview.read_beginning("minio://mlpipeline/v2/page.html", 10)
    assert (
        raised.value.hint == "Set s3_endpoint in [env.NAME] of kfgcp.toml, or the variable"
        " AWS_ENDPOINT_URL=http://HOST:PORT in your shell."
    )


@pytest.mark.parametrize(
    ("uri", "module", "extra"),
    [("gs://b/k", "google.cloud.storage", "gcp"), ("s3://b/k", "boto3", "s3")],
)
def test_a_missing_library_names_the_extra(uri: str, module: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\nfrom kfgcp.services.storage import"
        f" preview\npreview.read_beginning({uri!r}, 1)"
    )
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STORAGE_", "AWS_"))
    }

    process = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )

    assert (
        process.stderr.splitlines()[-1]
        == f"kfgcp.errors.MissingExtra: Reading {uri} needs the extra '{extra}', which is not"
        " installed."
    )


def test_the_stand_in_of_cloud_storage_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(123)
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.endpoint)
        storage.make_bucket("made")
        _upload(storage.endpoint, "made", {"a/x.md": b"# title", "a/y/z.txt": b""})

        assert preview.read_beginning("gs://made/a/x.md", 3) == b"# t"
        assert preview.read_beginning("gs://made/a/x.md", 300) == b"# title"
        assert preview.read_beginning("gs://made/a", 3) is None
        assert preview.list_names("gs://made/a", 9) == ["x.md", "y/z.txt"]
        with pytest.raises(NotFound, match="gs://other/a does not exist"):
            preview.list_names("gs://other/a", 9)
    finally:
        storage.close()


def _upload(endpoint: str, bucket: str, contents: dict[str, bytes]) -> None:
    from google.cloud.storage import Client

    client: Any = Client.create_anonymous_client()
    for name, content in contents.items():
        client.bucket(bucket).blob(name).upload_from_string(content)


@pytest.mark.parametrize("uri", ["gs://", "gs:///page.html", "s3:///page.html", "minio://"])
def test_an_address_without_a_bucket_is_not_found(uri: str) -> None:
    for look in (lambda: preview.read_beginning(uri, 10), lambda: preview.list_names(uri, 10)):
        with pytest.raises(NotFound, match="does not contain the name of a bucket"):
            look()
