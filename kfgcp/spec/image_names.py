"""Read and replace the images of a compiled pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kfgcp.config import COMPONENT_IMAGES, COMPONENT_PREFIX
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.wire import as_mapping

# A name of an image without a registry, a tag and a digest.
_BARE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")

_TAG_OR_DIGEST: Final = re.compile(r"[:@].*")


def bare_images(pipeline_spec: JsonObject) -> set[str]:
    """Return the images that a pipeline names without a registry, a tag and a digest.

    Example:
        >>> executors = {"exec-a": {"container": {"image": "tabular"}}}
        >>> bare_images({"deploymentSpec": {"executors": executors}})
        {'tabular'}
    """
    return {image for image in container_images(pipeline_spec) if _BARE_NAME.fullmatch(image)}


def is_component_image(image: str) -> bool:
    """Return whether an image of a compiled pipeline is one of the components of kfgcp.

    Args:
        image: the image as `kfgcp images` names it: with a registry or without, and with a tag or a
            digest.

    Example:
        >>> is_component_image("registry.example/images/components-tabular:c-0123456789ab")
        True
        >>> is_component_image("components-tabular-2:1"), is_component_image("tabular")
        (False, True)
    """
    name = _TAG_OR_DIGEST.sub("", image.rpartition("/")[2])
    if name == image:
        return name in COMPONENT_IMAGES
    if not name.startswith(COMPONENT_PREFIX):
        return False
    return name.removeprefix(COMPONENT_PREFIX) in COMPONENT_IMAGES


def container_images(pipeline_spec: JsonObject) -> set[str]:
    """Return the images of the containers of a pipeline."""
    images = set()
    for executor in _executors(pipeline_spec).values():
        image = as_mapping(as_mapping(executor).get("container")).get("image")
        if isinstance(image, str):
            images.add(image)
    return images


def replace_images(pipeline_spec: JsonObject, references: Mapping[str, str]) -> dict[str, object]:
    """Return a copy of a PipelineSpec with other images.

    Args:
        pipeline_spec: the PipelineSpec.
        references: image in the pipeline -> image in the copy. Other images stay.
    """
    executors = {}
    for label, executor in _executors(pipeline_spec).items():
        container = as_mapping(as_mapping(executor).get("container"))
        reference = references.get(str(container.get("image")))
        if reference is None:
            executors[label] = executor
        else:
            executors[label] = {**executor, "container": {**container, "image": reference}}
    deployment = {**as_mapping(pipeline_spec.get("deploymentSpec")), "executors": executors}
    return {**pipeline_spec, "deploymentSpec": deployment}


def _executors(pipeline_spec: JsonObject) -> JsonObject:
    return as_mapping(as_mapping(pipeline_spec.get("deploymentSpec")).get("executors"))
