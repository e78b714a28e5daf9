"""What tests of the backend vertex share: specs, requests, an environment."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from kfgcp.backends.base import SubmitRequest
from kfgcp.config import Environment, Setting
from kfgcp.spec.load import Spec, from_documents, load
from kfgcp.spec.params import resolve

ROOT = Path(__file__).parents[3]
SETTINGS = {"project": "acme", "location": "europe-west4", "pipeline_root": "gs://acme-pipelines"}


@pytest.fixture(scope="session")
def environment_of() -> Callable[..., Environment]:
    """An environment of the backend vertex with further settings."""

    def make(**more: Any) -> Environment:
        return Environment("dev", "vertex", {key: Setting(value, "test") for key, value in (SETTINGS | more).items()})

    return make


@pytest.fixture(scope="session")
def request_of() -> Callable[..., SubmitRequest]:
    """The request that runs a spec: fields of SubmitRequest; `params` are completed."""

    def make(spec: Spec, params: dict[str, Any] | None = None, **more: Any) -> SubmitRequest:
        plain = {"env": "dev", "experiment": "default", "name": ""}
        return SubmitRequest(spec=spec, params=resolve(spec.params, params or {}), **plain | more)

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

    def edit(name: str, change: Callable[[dict[str, Any]], object]) -> Spec:
        spec = copy.deepcopy(compiled(name).pipeline_spec)
        change(spec)
        return from_documents([spec], "edited")

    return edit


@pytest.fixture(scope="session")
def detail() -> Callable[..., dict[str, Any]]:
    """A taskDetail that succeeded: `number` is its id and, in seconds, its start."""

    def make(number: int, name: str, parent: int | None = None, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = {
            "taskId": str(number),
            "taskName": name,
            "state": "SUCCEEDED",
            "startTime": f"2026-01-02T03:00:{number % 60:02d}.000Z",
            "endTime": f"2026-01-02T03:01:{number % 60:02d}.000Z",
            **({} if parent is None else {"parentTaskId": str(parent)}),
        }
        return {key: value for key, value in (made | more).items() if value is not None}

    return make
