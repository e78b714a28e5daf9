"""Name the container images that carry this package. Each family of components has one image."""

from __future__ import annotations

import os
from importlib.metadata import version

FAMILIES = ("tabular",)
DEFAULT_REGISTRY = "kfgcp"


def image(family: str) -> str:
    """Return the image name of a family, such as `kfgcp/components-tabular:0.1.0`.

    The registry comes from the environment variable KFGCP_IMAGE_REGISTRY. It is read when a
    component is imported, which happens when a pipeline is compiled. The tag is the installed
    version of kfgcp.

    Args:
        family: one of FAMILIES.

    Raises:
        ValueError: there is no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"there is no image family {family!r}; there are: {', '.join(FAMILIES)}")
    registry = os.environ.get("KFGCP_IMAGE_REGISTRY", "").rstrip("/") or DEFAULT_REGISTRY
    return f"{registry}/components-{family}:{version('kfgcp')}"
