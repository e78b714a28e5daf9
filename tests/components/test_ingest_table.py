from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kfp import dsl

from kfgcp_components import ingest_table
from kfgcp_components.data.ingest_table.fetch import hide_secrets
from kfgcp_components.data.ingest_table.logic import ingest
from kfgcp_components.tables import read_parquet, write_parquet
from patience import PROCESS, REQUEST

CSV = "id,city,score\n1,Łódź,0.5\n2,東京,\n"


def write(folder: Path, content: str | bytes, name: str = "data.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_the_component_writes_parquet_and_its_metadata(tmp_path: Path) -> None:
    table = dsl.Dataset(name="table", uri=str(tmp_path / "table"))
    ingest_table.python_func(source=write(tmp_path, CSV), table=table)
    assert read_parquet(table.path)["city"].tolist() == ["Łódź", "東京"]
    assert table.metadata == {
        "format": "parquet",
        "rows": 2,
        "columns": 3,
        "kinds": {"numeric": 2, "text": 1},
        "source": str(tmp_path / "data.csv"),
    }


def test_parquet_is_recognised_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "when": pd.to_datetime(["2024-01-01", None]), "ok": [True, None]}
    )
    facts = write_parquet(frame, tmp_path / "export.csv")
    table, _ = ingest(str(tmp_path / "export.csv"))
    assert facts["kinds"] == {"boolean": 1, "datetime": 1, "numeric": 1}
    assert table["a"].tolist() == [1, 2]
    assert table["when"].iloc[0] == pd.Timestamp("2024-01-01")


def test_a_stored_parquet_index_comes_back_as_a_column(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1, 2]}, index=pd.Index(["p", "q"], name="key")).to_parquet(
        tmp_path / "t.parquet"
    )
    table, _ = ingest(str(tmp_path / "t.parquet"))
    assert sorted(table.columns) == ["key", "x"]


def test_quotes_commas_newlines_and_a_byte_order_mark_are_understood(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffname,note\r\n"Doe, J.","said ""hi""\nand left"\r\n')
    table, _ = ingest(path)
    assert table.to_dict("list") == {"name": ["Doe, J."], "note": ['said "hi"\nand left']}


def test_only_the_documented_cells_count_as_missing(tmp_path: Path) -> None:
    table, _ = ingest(write(tmp_path, "severity,n\nNone,1\nNA,NaN\nnull,3\nmild,4\n"))
    assert table["severity"].isna().tolist() == [False, True, True, False]
    assert table["n"].isna().tolist() == [False, True, False, False]


def test_integers_beyond_64_bits_are_kept_as_text(tmp_path: Path) -> None:
    table, _ = ingest(write(tmp_path, "key\n123456789012345678901234567890\n2\n"))
    write_parquet(table, tmp_path / "out")
    assert read_parquet(tmp_path / "out")["key"].tolist() == ["123456789012345678901234567890", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "data.csv is empty"),
        (b" \n\n", "data.csv is empty"),
        (b"a,b\n", "has 2 columns but no rows"),
        (b"a,b,a\n1,2,3\n", "duplicated column names: a;"),
        (b"a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        (b"a,b\n1,2,3\n4,5,6\n", "Expected 2 fields in line 2, saw 3"),
        (b'a,b\n"open,1\n', "not readable as CSV"),
        (b"a;b\n1;2\n", "separated by semicolons"),
        (b"a\tb\n1\t2\n", "separated by tabs"),
        (b"a,b\n\xff\xfe,2\n", "neither Parquet nor CSV text in UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "contains binary data"),
        (np.random.default_rng(0).bytes(9000), "neither Parquet nor CSV"),
        (b"PAR1 and then nothing of use", "not readable as Parquet"),
    ],
)
def test_what_is_not_a_table_is_one_clear_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=r"data\.csv") as caught:
        ingest(write(tmp_path, content))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": pd.Series([], dtype="int64")}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="has 1 columns but no rows"):
        ingest(str(tmp_path / "none.parquet"))


def test_a_relative_path_is_looked_up_here_and_then_where_the_run_was_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, submitted = tmp_path / "here", tmp_path / "submitted"
    here.mkdir()
    submitted.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("KFGCP_SUBMIT_DIR", str(submitted))
    write(submitted, "a\n1\n")
    assert ingest("data.csv")[0]["a"].tolist() == [1]
    write(here, "a\n2\n")
    assert ingest("data.csv")[0]["a"].tolist() == [2]
    with pytest.raises(FileNotFoundError) as caught:
        ingest("other.csv")
    assert str(here) in str(caught.value)
    assert str(submitted) in str(caught.value)


def test_a_file_url_works_with_escaped_characters(tmp_path: Path) -> None:
    write(tmp_path, "a\n1\n", "my data.csv")
    assert len(ingest((tmp_path / "my data.csv").as_uri())[0]) == 1


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("/no/such/file.csv", FileNotFoundError, "no file /no/such/file.csv; check the path"),
        ("file:///no/such.csv", FileNotFoundError, "no file /no/such.csv"),
        ("file://elsewhere/x.csv", ValueError, "names the host 'elsewhere'"),
        ("ftp://host/x.csv", ValueError, "cannot read ftp://host/x.csv"),
        (" ", ValueError, "source of the table is empty"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(
    source: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        ingest(source)
    assert message in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is not a file; name one"):
        ingest(str(tmp_path))


def test_secrets_of_a_url_are_not_displayed() -> None:
    displayed = hide_secrets("https://user:pass@host:8080/a/b.csv?X-Signature=abc#frag")
    assert displayed == "https://host:8080/a/b.csv"


class _Files(http.server.BaseHTTPRequestHandler):
    """Answers by path; a stuck answer is released when the server stops."""

    released: threading.Event

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/missing.csv":
            self.send_error(404)
        elif path == "/private.csv":
            self.send_error(403)
        elif path == "/stuck.csv":
            self._start(len(CSV.encode()))
            self.released.wait(REQUEST)
        elif path == "/slow.csv":
            self._start(1_000_000)
            while not self.released.wait(0.01):  # until the client hangs up
                self.wfile.write(b"x")
        elif path == "/cut.csv":
            self._start(1_000_000)
            self.wfile.write(CSV.encode())
        else:
            self._start(len(CSV.encode()))
            self.wfile.write(CSV.encode())

    def _start(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # a client that gave up


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = type("Files", (_Files,), {"released": threading.Event()})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    handler.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_table_is_read_over_http_and_the_query_is_not_recorded(site: str, tmp_path: Path) -> None:
    table = dsl.Dataset(name="table", uri=str(tmp_path / "table"))
    ingest_table.python_func(source=f"{site}/data.csv?token=secret", table=table, timeout=REQUEST)
    assert table.metadata["rows"] == 2
    assert table.metadata["source"] == f"{site}/data.csv"


@pytest.mark.parametrize(
    ("path", "timeout", "error", "message"),
    [
        ("/missing.csv", REQUEST, FileNotFoundError, "HTTP 404 Not Found"),
        ("/private.csv?token=secret", REQUEST, ConnectionError, "HTTP 403 Forbidden"),
        ("/stuck.csv", 0.2, TimeoutError, "it took more than 0.2 seconds"),
        ("/slow.csv", 0.2, TimeoutError, "it took more than 0.2 seconds"),
        ("/cut.csv", REQUEST, ConnectionError, "the download stopped after"),
    ],
)
def test_a_failed_download_is_one_clear_line(
    site: str, path: str, timeout: float, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        ingest(site + path, timeout=timeout)
    assert f"cannot fetch {site}{path.partition('?')[0]}" in str(caught.value)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nobody_listening_is_a_connection_error(site: str) -> None:
    probe = http.server.HTTPServer(("127.0.0.1", 0), _Files)
    free_port = probe.server_port
    probe.server_close()
    with pytest.raises(ConnectionError, match="cannot fetch"):
        ingest(f"http://127.0.0.1:{free_port}/data.csv", timeout=REQUEST)


def test_a_timeout_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0 seconds"):
        ingest("http://127.0.0.1/data.csv", timeout=0)


def in_new_interpreter(code: str, **environment: str) -> str:
    # Some versions of google.api_core warn of a Python that nears its end.
    result = subprocess.run(
        [sys.executable, "-W", "ignore::FutureWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=PROCESS,
        env={**os.environ, **environment},
    )
    return (result.stdout + result.stderr).strip()


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("gs://bucket/data.csv", "google.cloud.storage", "kfgcp[gcp]"),
        ("s3://bucket/data.csv", "boto3.session", "kfgcp[s3]"),
        ("s3://bucket/data.csv", "cloudpathlib", "kfgcp[s3]"),
    ],
)
def test_a_missing_library_names_the_extra_to_install(url: str, module: str, extra: str) -> None:
    output = in_new_interpreter(
        f"import sys; sys.modules[{module!r}] = None\n"
        f"from kfgcp_components.data.ingest_table.logic import ingest; ingest({url!r})"
    )
    last_line = output.splitlines()[-1]
    assert last_line == f"ImportError: reading {url} needs more packages: pip install '{extra}'"


class _Bucket(http.server.BaseHTTPRequestHandler):
    """Speaks as much of the Cloud Storage JSON API as a download needs: one object, one denied, no
    other."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/o/denied.csv"):
            self._answer(403, b'{"error": {"code": 403, "message": "not\\nallowed"}}')
        elif path.startswith("/download/") and path.endswith("/o/data.csv"):
            self._answer(200, CSV.encode())
        elif path.endswith("/o/data.csv"):
            self._answer(200, b'{"kind": "storage#object", "name": "data.csv", "bucket": "shared"}')
        elif path.endswith("/o"):
            self._answer(200, b'{"kind": "storage#objects"}')
        elif path.endswith("/b/shared"):
            self._answer(200, b'{"kind": "storage#bucket", "name": "shared"}')
        else:
            self._answer(404, b'{"error": {"code": 404, "message": "no such object"}}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_bucket_is_read_and_its_refusals_are_one_line() -> None:
    pytest.importorskip("google.cloud.storage")
    server = _Server(("127.0.0.1", 0), _Bucket)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        output = in_new_interpreter(
            "from kfgcp_components.data.ingest_table.logic import ingest\n"
            "for name in ('data', 'denied', 'other'):\n"
            "    try:\n"
            "        print(len(ingest(f'gs://shared/{name}.csv')[0]), 'rows')\n"
            "    except OSError as error:\n"
            "        print(type(error).__name__, error)\n",
            STORAGE_EMULATOR_HOST=f"http://127.0.0.1:{server.server_port}",
            GOOGLE_APPLICATION_CREDENTIALS="/no/such/credentials.json",
            NO_GCE_CHECK="true",
            no_proxy="127.0.0.1",
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    rows, denied, absent = output.splitlines()
    assert rows == "2 rows"
    assert denied.startswith("ConnectionError cannot read gs://shared/denied.csv: 403")
    assert "not allowed" in denied
    assert absent == "FileNotFoundError no file gs://shared/other.csv; check the URL"
