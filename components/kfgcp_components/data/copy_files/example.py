"""Copy a folder."""

from kfp import dsl

from kfgcp_components import copy_files


@dsl.pipeline(name="copy-files-example")
def example(source: str = "examples/data", target: str = ".kfgcp/copy-of-data") -> int:
    """Copy the data of the examples."""
    copy = copy_files(source=source, target=target).set_caching_options(False)
    copied: int = copy.outputs["copied"]
    return copied
