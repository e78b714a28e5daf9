"""Find the images of a pipeline that no registry is known to have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kfgcp.config import COMPONENT_IMAGES, COMPONENT_PREFIX

# An image with the tag of a content (kfgcp/deploy/images/catalogue.py).
_CONTENT_TAG: Final = re.compile(r"(?:(?P<registry>.+)/)?(?P<name>[^/:@]+):c-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Unpinned:
    """An image that no registry is known to have.

    Attributes:
        image: the image, as the pipeline names it.
        reason: why a service may not find it. It completes "The image NAME …".
        hint: what to do, one line.
    """

    image: str
    reason: str
    hint: str

    @property
    def problem(self) -> str:
        """Why a service may not find it, as a sentence."""
        return f"The image {self.image} {self.reason}."


def unpinned_images(images: Iterable[str]) -> list[Unpinned]:
    """Return the images that have the tag of a content instead of a digest.

    Args:
        images: images of a compiled pipeline.

    Example:
        >>> unpinned_images(["python:3.12", "shop:c-0123456789ab"])[0].hint
        'Add image_registry to [project] of kfgcp.toml, then: kfgcp images push shop'
    """
    unpinned = []
    for image in sorted(images):
        problem = find_unpinned(image)
        if problem is not None:
            unpinned.append(problem)
    return unpinned


def find_unpinned(image: str) -> Unpinned | None:
    """Return why a service may not find an image, None for an image that is not one of a project.

    Args:
        image: the image, as a compiled pipeline names it.
    """
    if image in COMPONENT_IMAGES:
        # A template that something else than kfgcp has compiled.
        reason = "is a name that only kfgcp can replace"
        return Unpinned(image, reason, "Compile the pipeline with kfgcp compile.")
    match = _CONTENT_TAG.fullmatch(image)
    if match is None:
        return None
    name = match["name"]
    if name.removeprefix(COMPONENT_PREFIX) in COMPONENT_IMAGES:
        name = name.removeprefix(COMPONENT_PREFIX)
    command = f"kfgcp images push {name}"
    if match["registry"] is None:
        hint = f"Add image_registry to [project] of kfgcp.toml, then: {command}"
        return Unpinned(image, "is in no registry", hint)
    hint = f"Push the image, and commit images.lock: {command}"
    return Unpinned(image, "is not in images.lock, so it may not exist", hint)
