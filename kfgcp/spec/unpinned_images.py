"""Find the images of a pipeline that no registry is known to have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from kfgcp.config import COMPONENT_IMAGES, COMPONENT_PREFIX, Project

# An image with the tag of a content (kfgcp/deploy/images/catalogue.py).
_CONTENT_TAG: Final = re.compile(
    r"(?P<repository>(?:(?P<registry>.+)/)?(?P<name>[^/:@]+)):c-[0-9a-f]{12}"
)


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


def image_repositories(project: Project) -> frozenset[str]:
    """Return the names that the images of a project have in a compiled pipeline, without tags.

    Args:
        project: the project. Its images also have a name without its registry, because a pipeline
            can be older than `image_registry`.
    """
    names = {f"{COMPONENT_PREFIX}{name}" for name in COMPONENT_IMAGES} | set(project.images)
    if project.image_registry is None:
        return frozenset(names)
    return frozenset(names | {f"{project.image_registry}/{name}" for name in names})


def unpinned_images(images: Iterable[str], repositories: Collection[str]) -> list[Unpinned]:
    """Return the images of a project that have the tag of a content instead of a digest.

    Args:
        images: images of a compiled pipeline.
        repositories: the images of the project, see `image_repositories`.

    Example:
        >>> images = ["acme.example/shop:c-0123456789ab", "shop:c-0123456789ab"]
        >>> [image.hint for image in unpinned_images(images, ["shop"])]
        ['Add image_registry to [project] of kfgcp.toml, then: kfgcp images push shop']
    """
    unpinned = []
    for image in sorted(images):
        problem = find_unpinned(image, repositories)
        if problem is not None:
            unpinned.append(problem)
    return unpinned


def find_unpinned(image: str, repositories: Collection[str]) -> Unpinned | None:
    """Return why a service may not find an image, None for an image that is not of the project.

    Args:
        image: the image, as a compiled pipeline names it.
        repositories: the images of the project, see `image_repositories`. Others can have a tag of
            the same form, and only their owners know whether they exist.
    """
    if image in COMPONENT_IMAGES:
        # A template that something else than kfgcp has compiled.
        reason = "is a name that only kfgcp can replace"
        return Unpinned(image, reason, "Compile the pipeline with kfgcp compile.")
    match = _CONTENT_TAG.fullmatch(image)
    if match is None or match["repository"] not in repositories:
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
