"""Specs and requests that run them, commands that must fail, and what the tests of services
share."""

import copy
import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

import kfgcp as public
from json_types import JsonDict
from kfgcp.backends.base import SubmitRequest
from kfgcp.cli import main
from kfgcp.errors import BackendError
from kfgcp.options import RunOptions
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec, from_documents, load
from kfgcp.spec.params import resolve
from kfgcp.store.store import Store
from service_fixtures import (  # noqa: F401
    another_server,
    client,
    clock,
    id_token,
    key_file,
    kubectl,
    metadata,
    nobody,
    private_key,
    reply,
    secret,
    server,
    sign_in,
    tokens,
)

ROOT = Path(__file__).parents[2]


# -- pipelines, and requests that run them


@pytest.fixture(scope="session")
def request_of() -> Callable[..., SubmitRequest]:
    """The request that runs a spec: options, and other fields of SubmitRequest; `params` are
    completed."""

    def make(spec: Spec, params: JsonDict | None = None, **more: Any) -> SubmitRequest:
        fields = {name: more.pop(name) for name in SubmitRequest.__slots__ if name in more}
        options = RunOptions(env="dev", experiment="default").changed(**more)
        return SubmitRequest(
            spec=spec, params=resolve(spec.params, params or {}), options=options, **fields
        )

    return make


@functools.cache
def _compiled(name: str) -> Spec:
    """A pipeline of tests/engine/specs, tests/pipelines or examples, or a component."""
    if name.endswith(".yaml"):
        return load(str(ROOT / "tests" / "engine" / "specs" / name))
    if name.endswith(".py"):
        function = f":{Path(name).stem}" if name.startswith("tests/pipelines/") else ""
        return load(f"{ROOT / name}{function}")
    import kfgcp_components

    component = getattr(kfgcp_components, name)
    return from_documents([json_format.MessageToDict(component.pipeline_spec)], name)


@pytest.fixture(scope="session")
def compiled() -> Callable[[str], Spec]:
    return _compiled


@pytest.fixture
def edited(compiled: Callable[[str], Spec]) -> Callable[..., Spec]:
    """A compiled pipeline whose PipelineSpec a function has changed in place."""

    def edit(name: str, change: Callable[[JsonDict], object]) -> Spec:
        spec = copy.deepcopy(compiled(name).pipeline_spec)
        change(spec)
        return from_documents([spec], "edited")

    return edit


@pytest.fixture
def spec(pipeline: Callable[[str], Path]) -> Spec:
    """The pipeline `echo`."""
    return load(str(pipeline("echo")))


@pytest.fixture(scope="session")
def submit_all() -> Callable[..., list[str | BackendError]]:
    """Submits a pipeline many times from eight threads: the ids of the runs, or why there is none.
    Those are errors of ours; anything else ends the test."""

    def submit(spec: Spec, number: int, options: JsonObject) -> str | BackendError:
        try:
            return public.submit(
                spec, params={"text": str(number)}, **{"name": f"run-{number}", **options}
            ).run_id
        except BackendError as error:
            return error

    def submit_many(spec: Spec, count: int, **options: Any) -> list[str | BackendError]:
        options = {"env": "dev", **options}
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda number: submit(spec, number, options), range(count)))

    return submit_many


# -- the command


@pytest.fixture
def fails(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Runs a command, in this process, that must fail with a code; its error line and its hint
    line."""

    def run(code: int, *arguments: object, env: dict[str, str] | None = None) -> tuple[str, str]:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as change:
            for name, value in ({"KFGCP_ENV": "cloud"} | (env or {})).items():
                change.setenv(name, value)
            exit_code = main._exit_code([*map(str, arguments)])
        out, err = capsys.readouterr()
        assert (exit_code, out) == (code, ""), err
        assert "Traceback" not in err
        lines = err.splitlines()
        assert [line.partition(" ")[0] for line in lines] == ["error:", "hint:"], err
        return lines[0].removeprefix("error: "), lines[1].removeprefix("hint: ")

    return run


@pytest.fixture
def nothing_was_started(home: Path) -> Callable[..., None]:
    """Checks that there is no run, neither on a stand-in (the ids of its runs are given) nor in the
    store."""

    def check(runs: Iterable[str] = ()) -> None:
        assert list(runs) == []
        if (home / ".kfgcp" / "kfgcp.db").exists():
            with Store(home / ".kfgcp") as store:
                assert store.select() == []

    return check
