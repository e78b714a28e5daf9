"""Pipelines by their address in Artifact Registry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import kfgcp
import kfgcp.testing
from kfgcp.errors import AuthError, NotFound, SpecError, UsageError
from kfgcp.testing import VertexStandIn
from patience import PROCESS

PIPELINE = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def double(n: int) -> int:
    return 2 * n

@dsl.pipeline(name="doubled")
def pipeline(n: int = 21) -> int:
    return double(n=n).output
"""
ADDRESS = "https://europe-west4-kfp.pkg.dev/stand-in-project/pipelines/doubled"


@pytest.fixture
def compiled(home: Path) -> str:
    (home / "pipe.py").write_text(PIPELINE)
    kfgcp.compile("pipe.py", "pipe.yaml")
    return (home / "pipe.yaml").read_text()


@pytest.fixture
def cloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexStandIn]:
    with kfgcp.testing.vertex() as env:
        (home / "kfgcp.toml").write_text(env.toml("dev"))
        with pytest.MonkeyPatch.context() as change:
            for name, value in env.environ.items():
                change.setenv(name, value)
            yield env


def test_a_tag_is_resolved_and_the_run_says_which_version_it_is(
    cloud: VertexStandIn, compiled: str
) -> None:
    address = cloud.publish("doubled", compiled, "latest", "v1")

    run = kfgcp.run(f"{ADDRESS}/v1", env="dev", params={"n": 4}, timeout=PROCESS)

    assert run.outputs == {"Output": 8}
    [create] = cloud.requests.select("POST", "*/pipelineJobs")
    assert create.body["templateUri"] == address
    assert address.startswith(f"{ADDRESS}/sha256:")


def test_a_digest_needs_no_question_for_the_tag(cloud: VertexStandIn, compiled: str) -> None:
    address = cloud.publish("doubled", compiled)

    assert kfgcp.run(address, env="dev", timeout=PROCESS).outputs == {"Output": 42}
    assert cloud.requests.count("GET", "*/tags/*") == 0


@pytest.mark.parametrize("tag", ["1.0.0", "sdk-1-25", "Latest", "_a", "a.b~c@d"])
def test_a_tag_has_the_characters_of_google_s_own_tags(
    cloud: VertexStandIn, compiled: str, tag: str
) -> None:
    address = cloud.publish("doubled", compiled, tag)

    spec = kfgcp.Workspace.default().load_pipeline(f"{ADDRESS}/{tag}", "dev")

    assert spec.template == address


def test_a_sign_in_page_is_not_a_pipeline(cloud: VertexStandIn, compiled: str) -> None:
    address = cloud.publish("doubled", compiled)
    cloud.fail_next("garbage")

    with pytest.raises(AuthError, match="with a web page, not with a file"):
        kfgcp.submit(address, env="dev")


def test_it_runs_on_this_machine_too(cloud: VertexStandIn, compiled: str) -> None:
    cloud.publish("doubled", compiled, "v1")
    spec = kfgcp.Workspace.default().load_pipeline(f"{ADDRESS}/v1", "dev")

    assert kfgcp.run(spec, env="local", timeout=PROCESS).outputs == {"Output": 42}


def test_a_missing_version_is_an_error(cloud: VertexStandIn) -> None:
    with pytest.raises(NotFound, match="doubled"):
        kfgcp.submit(f"{ADDRESS}/v7", env="dev")


@pytest.mark.parametrize(
    "address", ["https://example.com/pipe.yaml", ADDRESS, f"{ADDRESS}/sha256:12"]
)
def test_other_addresses_are_refused(cloud: VertexStandIn, address: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a pipeline"):
        kfgcp.submit(address, env="dev")
    assert len(list(cloud.requests)) == 0


def test_a_file_that_is_not_a_pipeline_is_reported(cloud: VertexStandIn) -> None:
    address = cloud.publish("doubled", "a: 1\n")

    with pytest.raises(SpecError, match="sha256"):
        kfgcp.submit(address, env="dev")
