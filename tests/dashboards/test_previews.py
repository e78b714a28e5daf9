"""The beginning of artifacts: only what runs wrote is opened, and HTML has no rights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.backends.registry import is_in_service_store, load_project
from kfgcp.model import Artifact, Run
from kfgcp_dashboard.previews import (
    MAX_ROWS,
    MAX_TEXT_BYTES,
    artifact_folders,
    find_bucket_environment,
    local_path,
    read_preview,
    sandbox_html,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    return artifacts


def _look(file: Path, folder: Path, kind: str = "system.Artifact") -> tuple[str, object, bool]:
    shown_preview = read_preview(Artifact("t", "a", kind, f"file://{file}"), (folder,))
    return shown_preview.kind, shown_preview.body, shown_preview.is_cut


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (b"hello\nworld", "system.Artifact", ("text", "hello\nworld")),
        (
            b'{"b": 1, "a": [2]}',
            "system.Artifact",
            ("json", json.dumps({"b": 1, "a": [2]}, indent=2)),
        ),
        (
            b"x,y\n1,2\n3,4\n",
            "system.Dataset",
            ("table", [{"x": "1", "y": "2"}, {"x": "3", "y": "4"}]),
        ),
        (b"x\tx\n1\t2\n", "system.Dataset", ("table", [{"x": "1", "x (2)": "2"}])),
        (b"<p>hi", "system.HTML", ("html", "<p>hi")),
        (b"<!DOCTYPE html><p>hi", "system.Artifact", ("html", "<!DOCTYPE html><p>hi")),
        (b"# hi", "system.Markdown", ("markdown", "# hi")),
        (PNG, "system.Artifact", ("image", ("image/png", PNG))),
        (b"", "system.Artifact", ("none", "The file is empty.")),
        (bytes(300), "system.Model", ("none", "The file is binary: 300 bytes.")),
        (b"\xff\xfe\xfd", "system.Model", ("none", "The file is binary: 3 bytes.")),
        (b"<svg onload=alert(1)>", "system.Artifact", ("text", "<svg onload=alert(1)>")),
    ],
)
def test_what_a_file_holds(
    folder: Path, content: bytes, kind: str, expected: tuple[str, object]
) -> None:
    (folder / "x").write_bytes(content)

    assert _look(folder / "x", folder, kind)[:2] == expected


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "The artifact has no file."),
        (
            "s3://tables/a.csv",
            "This file is not in the pipeline_root of any environment, so the dashboard does not"
            " read it.",
        ),
    ],
)
def test_an_artifact_that_is_not_read_says_why(folder: Path, uri: str, reason: str) -> None:
    shown_preview = read_preview(Artifact("t", "a", "system.Metrics", uri), (folder,))

    assert (shown_preview.kind, shown_preview.body) == ("none", reason)


def test_only_the_beginning_is_read(folder: Path) -> None:
    (folder / "long").write_text("ü" * MAX_TEXT_BYTES)
    (folder / "rows").write_text("a,b\n" + "1,2\n" * 5000)

    kind, body, cut = _look(folder / "long", folder)
    assert (kind, len(str(body).encode()), cut) == ("text", MAX_TEXT_BYTES, True)
    kind, rows, cut = _look(folder / "rows", folder)
    assert isinstance(rows, list)
    assert (kind, len(rows), cut) == ("table", MAX_ROWS, True)


def test_parquet_is_a_table(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"x": range(5000), "y": ["a"] * 5000}), folder / "t")
    (folder / "broken").write_bytes(b"PAR1 and then nothing")

    kind, rows, cut = _look(folder / "t", folder)
    assert isinstance(rows, list)
    assert (kind, len(rows), rows[7], cut) == ("table", MAX_ROWS, {"x": 7, "y": "a"}, True)
    assert _look(folder / "broken", folder)[0] == "none"


def test_a_folder_is_its_files(folder: Path) -> None:
    (folder / "model" / "deep").mkdir(parents=True)
    (folder / "model" / "deep" / "w.bin").write_bytes(bytes(7))

    assert _look(folder / "model", folder)[:2] == (
        "files",
        [{"name": "deep", "bytes": None}, {"name": "deep/w.bin", "bytes": 7}],
    )


def test_files_that_runs_did_not_write_are_not_opened(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secrets.toml"
    secret.write_text("password = 1")
    (folder / "link").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)

    for path in (
        secret,
        folder / ".." / "secrets.toml",
        folder / "link",
        folder / "up" / "secrets.toml",
    ):
        kind, why, _ = _look(path, folder)
        assert kind == "none"
        assert "outside" in str(why)
    assert _look(Path("/etc/passwd"), folder)[0] == "none"
    assert _look(folder / "gone", folder) == (
        "none",
        "The file does not exist: it was removed, or was never written.",
        False,
    )


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b", Path("/a/b")),
        ("file:///a%20b", Path("/a b")),
        ("file://elsewhere/a", None),
        ("/a/b", Path("/a/b")),
        ("a/b", None),
        ("gs://bucket/a", None),
        ("", None),
        ("https://a.example/x", None),
    ],
)
def test_addresses_on_this_machine(uri: str, path: Path | None) -> None:
    assert local_path(uri) == path


def test_the_folders_that_runs_write_to(tmp_path: Path) -> None:
    (tmp_path / "kfgcp.toml").write_text(
        '[env.local]\nbackend = "local"\npipeline_root = "out"\n[env.b]\nbackend ='
        ' "local"\npipeline_root = "gs://b/x"\n'
    )

    assert artifact_folders(load_project(tmp_path, {})) == (
        tmp_path / ".kfgcp" / "artifacts",
        tmp_path / "out",
    )


def test_html_cannot_leave_its_attribute() -> None:
    document = '"></iframe><script>alert(1)</script>&quot;><img src=x onerror=alert(2)>'

    html = sandbox_html(document)

    assert "<script" not in html
    assert html.count("<iframe") == 1
    assert 'sandbox=""' in html
    assert "default-src &#x27;none&#x27;" in html
    assert html.index("default-src 'none'") < html.index("<iframe")


def test_an_artifact_in_a_bucket_is_read_where_the_environment_of_its_run_says(
    tmp_path: Path,
) -> None:
    """Two clusters may have the same root, each in a store of its own."""
    table = """
[env.{name}]
backend = "kubeflow"
host = "https://{name}.acme.example"
pipeline_root = "minio://mlpipeline/v2"
s3_endpoint = "https://minio.{name}.acme.example"
"""
    (tmp_path / "kfgcp.toml").write_text(table.format(name="dev") + table.format(name="prod"))
    project = load_project(tmp_path, {})
    uri = "minio://mlpipeline/v2/run/report"

    for name in ("dev", "prod"):
        env = find_bucket_environment(uri, project, name)
        assert env is not None
        assert env.get("s3_endpoint") == f"https://minio.{name}.acme.example"
    assert find_bucket_environment("minio://mlpipeline/v20/report", project, "dev") is None
    assert find_bucket_environment("minio://other/v2/report", project, "dev") is None


RUN_ID = "12afc907-ed40-4e6a-bb53-23b559cebd64"


@pytest.mark.parametrize(
    ("uri", "namespace", "expected"),
    [
        (f"minio://mlpipeline/v2/artifacts/p/{RUN_ID}/train/x/note", "", True),
        (
            f"minio://mlpipeline/private-artifacts/team-a/v2/artifacts/p/{RUN_ID}/train/x/note",
            "team-a",
            True,
        ),
        ("minio://mlpipeline/v2/artifacts/p/of-an-earlier-run/train/x/note", "", True),
        ("minio://mlpipeline/v2/artifacts/p/of-an-earlier-run/train/x/note", "team-a", False),
        ("minio://mlpipeline/private-artifacts/team-b/secret", "team-a", False),
        ("minio://mlpipeline/private-artifacts/team-b/secret", "", False),
        (f"minio://mlpipeline/private-artifacts/team-b/secret-{RUN_ID}", "team-a", False),
        ("minio://mlpipeline/v2/artifacts/../../secret", "", False),
        (f"minio://mlpipeline/{RUN_ID}/../secret", "", False),
        (f"s3://mlpipeline/v2/artifacts/p/{RUN_ID}/train/x/note", "", False),
        (f"/home/{RUN_ID}/note", "", False),
    ],
)
def test_what_is_read_in_the_store_of_a_server(
    tmp_path: Path, make_run: Callable[..., Run], uri: str, namespace: str, expected: bool
) -> None:
    """Runs choose the addresses of their artifacts, and the dashboard may read what those who look
    may not."""
    text = '[env.gke]\nbackend = "kubeflow"\nhost = "https://kfp.acme.example"\n'
    (tmp_path / "kfgcp.toml").write_text(
        text + (f'namespace = "{namespace}"\n' if namespace else "")
    )
    env = load_project(tmp_path, {}).env("gke")

    assert is_in_service_store(env, make_run(run_id=RUN_ID, env="gke"), uri) is expected


def test_other_backends_have_no_such_store(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    env = load_project(tmp_path, {}).env("local")

    assert not is_in_service_store(
        env, make_run(run_id=RUN_ID), f"minio://mlpipeline/v2/artifacts/{RUN_ID}/x"
    )
