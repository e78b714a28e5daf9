"""Stand-ins of the services that pipelines run on: small servers on this machine, for tests and for
trying things.

    import kfgcp.testing

    with kfgcp.testing.vertex() as env:
        print(env.toml())              # an environment of kfgcp.toml that leads there
        env.fail_next("503")           # the next request fails
        print(env.requests.count("POST", "*/pipelineJobs"))

`kubeflow()` is a self-hosted Kubeflow Pipelines API server in the same way. They need the extra
`testing`; without it, starting one raises MissingExtra. The guide is docs/guides/testing.md.

With `pytest_plugins = ["kfgcp.testing"]` in a conftest.py, or with `pytest -p kfgcp.testing`, tests
have the fixtures `vertex_stand_in` and `kubeflow_stand_in`. Other test suites do not load them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfgcp.testing.kubeflow_server.stand_in import KubeflowStandIn, kubeflow
    from kfgcp.testing.vertex_ai import VertexStandIn, vertex

__all__ = ["KubeflowStandIn", "VertexStandIn", "kubeflow", "vertex"]

# What pytest loads when this package is named as a plug-in.
pytest_plugins = ["kfgcp.testing.pytest_plugin"]

_MODULES = {
    "KubeflowStandIn": "kubeflow_server.stand_in",
    "VertexStandIn": "vertex_ai",
    "kubeflow": "kubeflow_server.stand_in",
    "vertex": "vertex_ai",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kfgcp.testing' has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = value = getattr(import_module(f"kfgcp.testing.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
