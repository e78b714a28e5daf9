"""The fixtures of tests of the Kubeflow stand-in: its API, ML Metadata, kfp's own client."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from json_types import JsonDict
from kfgcp.testing import KubeflowStandIn, kubeflow
from patience import WaitFor
from stand_in_apis import KubeflowApi

if TYPE_CHECKING:
    import kfp

FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@pytest.fixture
def env() -> Iterator[KubeflowStandIn]:
    """Return a stand-in that runs pipelines on the engine."""
    with kubeflow() as stand_in:
        yield stand_in


@pytest.fixture
def instant() -> Iterator[KubeflowStandIn]:
    """Return a stand-in that invents the results of runs."""
    with kubeflow(mode="instant") as stand_in:
        yield stand_in


@pytest.fixture
def api(env: KubeflowStandIn) -> KubeflowApi:
    return KubeflowApi(env)


@pytest.fixture
def quick(instant: KubeflowStandIn) -> KubeflowApi:
    """Return the API of the stand-in that invents results."""
    return KubeflowApi(instant)


@pytest.fixture
def api_of() -> type[KubeflowApi]:
    """Return a function that gives the API of a stand-in that a test starts itself."""
    return KubeflowApi


@pytest.fixture(scope="session")
def spec_of(pipeline: Callable[[str], Path]) -> Callable[[str], JsonDict]:
    """Return a function that gives a new PipelineSpec of a pipeline in tests/pipelines."""
    return lambda name: next(iter(yaml.safe_load_all(pipeline(name).read_text())))


@pytest.fixture(scope="session")
def features_file() -> Path:
    """Return a compiled pipeline with loops, conditions and nested pipelines."""
    return Path(__file__).parents[2] / "engine" / "specs" / "features-2.14.6.yaml"


@pytest.fixture(scope="session")
def guarded_file() -> Path:
    """Return a compiled pipeline with an exit task and a task that fails in spite of its retry."""
    return Path(__file__).parents[2] / "engine" / "specs" / "guarded-2.14.6.yaml"


@pytest.fixture(scope="session")
def ended(eventually: WaitFor) -> Callable[[KubeflowApi, str], JsonDict]:
    """Return a function that waits for the end of a run and returns the run."""

    def wait(api: KubeflowApi, run_id: str) -> JsonDict:
        def read_ended_run() -> JsonDict | None:
            run = api.get(f"runs/{run_id}")
            return run if run["state"] in FINAL else None

        return eventually(read_ended_run)

    return wait


@pytest.fixture
def client(env: KubeflowStandIn, home: Path) -> "kfp.Client":
    """Return kfp's own client, unmodified."""
    import kfp

    return kfp.Client(env.host, existing_token="any")  # noqa: S106
