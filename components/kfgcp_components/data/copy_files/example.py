"""Copy a folder."""

from kfp import dsl

from kfgcp_components import copy_files


@dsl.pipeline(name="copy-files-example")
def example(source: str = "examples/data", target: str = ".kfgcp/copy-of-data") -> int:
    """Copy the data of the examples."""
    copied: int = copy_files(source=source, target=target).outputs["copied"]
    return copied
