"""Tests of pipelines: run a component or a pipeline in a test, and stand-ins of services.

    from kfgcp.testing import fails, returns, run, run_component

    def test_a_bad_model_is_not_deployed():
        result = run(churn, {"train": returns(model="model.pkl"), "evaluate": returns(0.4)})
        assert result.skipped("deploy")

`run_component` runs the function of one component. `run` runs a pipeline, with replacements for
tasks. Both need no account, no container and no stand-in.

Stand-ins are small servers on this machine that behave like the services that run pipelines:

    import kfgcp.testing

    with kfgcp.testing.vertex() as env:
        print(env.toml())              # an environment of kfgcp.toml that leads to the stand-in
        env.fail_next("503")           # the next request fails
        print(env.requests.count("POST", "*/pipelineJobs"))

`kubeflow()` starts a self-hosted Kubeflow Pipelines API server in the same way. `vertex()` and
`kubeflow()` need the extra `testing`. Without the extra, they raise MissingExtra. The guide is
docs/guides/testing.md.

With `pytest_plugins = ["kfgcp.testing"]` in a conftest.py, or with `pytest -p kfgcp.testing`, tests
have the fixtures `vertex_stand_in` and `kubeflow_stand_in`. By default, pytest does not load them.

The stand-ins are imported on first use, because their modules need packages of the extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfgcp.testing.component_runs import run_component
    from kfgcp.testing.kubeflow_server.stand_in import KubeflowStandIn, kubeflow
    from kfgcp.testing.pipeline_runs import run
    from kfgcp.testing.replacements import TestArtifact, artifact, fails, returns
    from kfgcp.testing.results import ComponentResult, PipelineResult, TaskResult
    from kfgcp.testing.vertex_ai import VertexStandIn, vertex

__all__ = [
    "ComponentResult",
    "KubeflowStandIn",
    "PipelineResult",
    "TaskResult",
    "TestArtifact",
    "VertexStandIn",
    "artifact",
    "fails",
    "kubeflow",
    "returns",
    "run",
    "run_component",
    "vertex",
]

# The modules that pytest loads when this package is a plug-in.
pytest_plugins = ["kfgcp.testing.pytest_plugin"]

_MODULES = {
    "ComponentResult": "results",
    "PipelineResult": "results",
    "TaskResult": "results",
    "TestArtifact": "replacements",
    "artifact": "replacements",
    "fails": "replacements",
    "returns": "replacements",
    "run": "pipeline_runs",
    "run_component": "component_runs",
    "KubeflowStandIn": "kubeflow_server.stand_in",
    "VertexStandIn": "vertex_ai",
    "kubeflow": "kubeflow_server.stand_in",
    "vertex": "vertex_ai",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'kfgcp.testing' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"kfgcp.testing.{_MODULES[name]}")
    public_object: object = getattr(module, name)
    # Python calls this function only for names that the package does not have.
    globals()[name] = public_object
    return public_object


def __dir__() -> list[str]:
    return list(__all__)
