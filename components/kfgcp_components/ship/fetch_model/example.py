"""Fetch a model."""

from kfp import dsl

from kfgcp_components import fetch_model


@dsl.pipeline(name="fetch-model-example")
def example(registry: str = "registry") -> None:
    """Read the champion, if there is one."""
    fetch_model(registry=registry, name="diagnosis", required=False)
