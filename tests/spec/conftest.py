"""A compiled pipeline that uses most of the DSL, for the tests of specs."""

import copy
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.spec.load import load

RICH = """
from typing import List, Optional

from kfp import dsl


@dsl.component(packages_to_install=["kfp==2.10.0"])
def make(x: int, text: str = "2024-01-01", extra: Optional[dict] = None) -> List[int]:
    return [x]


@dsl.component
def double(x: int) -> int:
    return 2 * x


@dsl.component
def train(xs: list, model: dsl.Output[dsl.Model], rate: float = 0.5):
    "Trains with 'kfp==1.0' '--no-deps' in its source."


@dsl.container_component
def report(model: dsl.Input[dsl.Model], page: dsl.Output[dsl.HTML]):
    return dsl.ContainerSpec(
        image="alpine", command=["sh", "-c"], args=["cp", model.path, page.path]
    )


@dsl.component
def notify(status: dsl.PipelineTaskFinalStatus):
    pass


@dsl.pipeline
def sub(xs: list) -> dsl.Model:
    return train(xs=xs).outputs["model"]


@dsl.pipeline(name="rich", description="Most of the DSL.")
def rich(n: int = 2, names: list = [], options: dict = {}, data: str = "gs://b/d") -> int:
    source = dsl.importer(artifact_uri=data, artifact_class=dsl.Model, metadata={"k": 1})
    with dsl.ExitHandler(notify()):
        numbers = make(x=n).set_cpu_limit("2").set_env_variable("A", "b")
        numbers.set_retry(2, backoff_duration="5s")
        with dsl.ParallelFor(numbers.output, parallelism=3) as item:
            doubled = double(x=item)
        trained = sub(xs=dsl.Collected(doubled.output))
        report(model=trained.output).after(numbers, source).set_caching_options(False)
    first = double(x=n)
    with dsl.If(first.output == 4):
        a = double(x=1)
    with dsl.Else():
        b = double(x=2)
    return dsl.OneOf(a.output, b.output)
"""


@pytest.fixture(scope="session")
def rich_documents(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    path = tmp_path_factory.mktemp("rich") / "rich.py"
    path.write_text(textwrap.dedent(RICH))
    spec = load(f"{path}:rich")
    platforms = {
        "platforms": {
            "kubernetes": {"deploymentSpec": {"executors": {"exec-make": {"nodeSelector": {}}}}}
        }
    }
    return [spec.pipeline_spec, platforms]


@pytest.fixture
def rich(rich_documents: list[Any]) -> JsonDict:
    """The PipelineSpec, to be changed at will."""
    spec: dict[str, Any] = copy.deepcopy(rich_documents[0])
    return spec


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(text: str | bytes, name: str = "pipeline.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write
