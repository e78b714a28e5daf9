"""Names of the container images that carry this package, one image per family of components."""

from __future__ import annotations

import os
from importlib.metadata import version

FAMILIES = ("tabular",)
DEFAULT_REGISTRY = "kfgcp"


def image(family: str) -> str:
    """The image name of a family, such as `kfgcp/components-tabular:0.1.0`.

    The registry comes from the environment variable KFGCP_IMAGE_REGISTRY, read when a component is
    imported, which is when a pipeline is compiled. The tag is the installed version of kfgcp.

    Args:
        family: One of FAMILIES.

    Raises:
        ValueError: If there is no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"there is no image family {family!r}; there are: {', '.join(FAMILIES)}")
    registry = os.environ.get("KFGCP_IMAGE_REGISTRY", "").rstrip("/") or DEFAULT_REGISTRY
    return f"{registry}/components-{family}:{version('kfgcp')}"
