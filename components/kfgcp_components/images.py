"""Return the names of the container images that contain this package.

Components with the same dependencies are a family. Each family has one image.
"""

from __future__ import annotations

import os
from importlib.metadata import version

FAMILIES = ("tabular",)
DEFAULT_REGISTRY = "kfgcp"


def image(family: str) -> str:
    """Return the image name of a family, such as `kfgcp/components-tabular:0.1.0`.

    The registry comes from the environment variable KFGCP_IMAGE_REGISTRY. The variable is read when
    a component is imported, so it must be set when a pipeline is compiled. The tag is the installed
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
