"""A task gets the secrets of its environment from variables and files; no file that kfgcp writes
has their values."""

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp import dsl, kubernetes

from kfgcp import api
from kfgcp.errors import Unsupported
from kfgcp.model import Run
from kfgcp.spec.load import Spec, from_documents
from kfgcp.tracking.notices import NotHeeded

VALUE = "s3cret-7f1c9b-value"
TABLES = """
[env.local]
backend = "local"

[env.local.secrets]
"""


@dsl.component
def length_of(variable: str) -> int:
    import os

    return len(os.environ[variable])


def spec_of(configure: Callable[[dsl.PipelineTask], object], variable: str = "DB_PASSWORD") -> Spec:
    """Both documents of a pipeline with one task."""

    @dsl.pipeline(name="asks")
    def pipeline() -> int:
        task = length_of(variable=variable)
        configure(task)
        return task.output

    messages = (pipeline.pipeline_spec, pipeline.platform_spec)
    documents = [json_format.MessageToDict(message) for message in messages]
    return from_documents([document for document in documents if document], "test")


def asks(task: dsl.PipelineTask) -> None:
    task.set_env_variable("DB_PASSWORD", "secret:DB_PASSWORD")


def asks_the_cluster(task: dsl.PipelineTask) -> None:
    kubernetes.use_secret_as_env(task, "db", {"password": "DB_PASSWORD"})


def run_here(spec: Spec) -> Run:
    return api.submit(spec, in_process=True).wait(check=False).snapshot


def files_with(value: str, folder: Path) -> list[str]:
    """The files of a folder that contain a text, also in UTF-16, and those whose names have it."""
    matches = []
    for file in sorted(folder.rglob("*")):
        content = file.read_bytes() if file.is_file() else b""
        encodings = [value.encode(), value.encode("utf-16-le")]
        if value in str(file) or any(text in content for text in encodings):
            matches.append(str(file.relative_to(folder)))
    return matches


@pytest.fixture
def configured(home: Path) -> Callable[[str], None]:
    def write(secrets: str) -> None:
        (home / "kfgcp.toml").write_text(TABLES + secrets + "\n")

    return write


def test_a_task_gets_a_variable_and_no_file_has_its_value(
    home: Path, configured: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD_OF_DEV", VALUE)
    configured('DB_PASSWORD = { variable = "PASSWORD_OF_DEV" }')

    run = run_here(spec_of(asks))
    again = run_here(spec_of(asks))

    assert run.outputs == {"Output": len(VALUE)}
    assert again.tasks[0].state == "CACHED"
    assert files_with("PASSWORD_OF_DEV", home / ".kfgcp"), "the search sees what is in the store"
    assert files_with(VALUE, home) == []


def test_a_run_of_its_own_process_gets_the_secret_too(
    home: Path, configured: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD_OF_DEV", VALUE)
    configured('DB_PASSWORD = { variable = "PASSWORD_OF_DEV" }')

    handle = api.submit(spec_of(asks))
    handle.wait()

    assert handle.outputs == {"Output": len(VALUE)}
    assert files_with(VALUE, home) == []


def test_a_task_gets_a_file_without_its_last_newline(
    home: Path, configured: Callable[[str], None]
) -> None:
    (home / "secrets").mkdir()
    (home / "secrets" / "db").write_text(f"{VALUE}\n")
    configured('DB_PASSWORD = { file = "secrets/db" }')

    run = run_here(spec_of(asks))

    assert run.outputs == {"Output": len(VALUE)}
    assert files_with(VALUE, home) == ["secrets/db"]


def test_another_value_does_not_change_the_cache_key(
    home: Path, configured: Callable[[str], None]
) -> None:
    secret = home / "password"
    configured('DB_PASSWORD = { file = "password" }')
    secret.write_text("first")
    first = run_here(spec_of(asks))
    secret.write_text("another-one")

    second = run_here(spec_of(asks))

    assert second.tasks[0].state == "CACHED"
    assert second.outputs == first.outputs


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('DB_PASSWORD = { variable = "NOT_SET" }', "is in the variable NOT_SET, which is not set"),
        ('DB_PASSWORD = { file = "missing" }', "cannot be read: No such file or directory"),
        ('DB_PASSWORD = { file = "latin" }', "which is not UTF-8 text"),
    ],
)
def test_a_task_fails_before_it_starts_when_its_secret_is_not_there(
    home: Path,
    configured: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    entry: str,
    problem: str,
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    (home / "latin").write_bytes(b"caf\xe9")
    configured(entry)

    with pytest.warns(NotHeeded, match="length-of will fail if it starts: the secret DB_PASSWORD"):
        run = run_here(spec_of(asks))

    assert run.state == "FAILED"
    assert run.error is not None
    assert problem in run.error.message
    assert run.error.task == "length-of"


@pytest.mark.parametrize(
    "entry",
    ['DB_PASSWORD = { secret = "db", key = "password" }', 'OTHER = { variable = "HOME" }'],
)
def test_a_run_whose_secret_has_no_place_here_is_refused(
    configured: Callable[[str], None], entry: str
) -> None:
    configured(entry)

    with pytest.raises(Unsupported, match=r"the secret DB_PASSWORD.*\(P202\)"):
        run_here(spec_of(asks))


def test_a_secret_of_kubernetes_comes_from_its_entry(
    home: Path, configured: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "of-the-environment-of-the-user")
    (home / "password").write_text(VALUE)
    configured('DB = { secret = "db", key = "password", file = "password" }')

    handle = api.submit(spec_of(asks_the_cluster), in_process=True)

    assert handle.wait().outputs == {"Output": len(VALUE)}
    assert list(handle.notes) == []
    assert [change["after"] for change in handle.translation] == ["file password"]


def test_an_entry_of_another_key_leaves_the_variable_of_the_user(
    configured: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "12345")
    configured('DB = { secret = "db", key = "user", variable = "HOME" }')

    assert run_here(spec_of(asks_the_cluster)).outputs == {"Output": 5}


def test_an_optional_secret_may_be_missing(
    configured: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("PRESENT", "123")
    configured('DB = { secret = "db", key = "password", variable = "NOT_SET" }')

    def asks_for_both(task: dsl.PipelineTask) -> None:
        kubernetes.use_secret_as_env(task, "db", {"password": "DB_PASSWORD"}, optional=True)

    assert run_here(spec_of(asks_for_both, variable="PRESENT")).outputs == {"Output": 3}


def test_a_resumed_or_repeated_run_reads_the_secret_again(
    home: Path, configured: Callable[[str], None]
) -> None:
    configured('DB_PASSWORD = { file = "password" }')
    first = run_here(spec_of(asks))
    assert first.state == "FAILED"
    (home / "password").write_text("12345")

    again = api.rerun(first.run_id, in_process=True)

    assert again.wait().outputs == {"Output": 5}


def test_the_state_folder_of_a_failed_task_has_no_value_either(
    home: Path, configured: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD_OF_DEV", VALUE)
    configured('DB_PASSWORD = { variable = "PASSWORD_OF_DEV" }')

    run = run_here(spec_of(asks, variable="DOES_NOT_EXIST"))

    assert run.state == "FAILED"
    assert files_with(VALUE, home) == []
