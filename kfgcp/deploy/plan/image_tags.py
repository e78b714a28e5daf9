"""The tags `use-SCHEDULE-DIGEST` of images, see `use_tags`. Pure.

Each image has its own tags in the registry. So a schedule has its tag at each of its images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kfgcp.config import COMPONENT_IMAGES, COMPONENT_PREFIX
from kfgcp.deploy.images.lock import Locked

# A digest in a line has as many digits as in all other texts of kfgcp.
_DIGEST_LENGTH: Final = len("sha256:") + 12

# The name of an image after its registry. Other names cannot be part of a URL (the distribution
# specification of the Open Container Initiative).
_PATH: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*"
_PINNED: Final = re.compile(rf"(?P<path>{_PATH})(?::[\w.-]+)?@(?P<digest>sha256:[0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True)
class ImageTagMove:
    """What to do with the tag of a schedule at an image.

    Attributes:
        tag: the tag.
        image: the name of the image without a tag, with the registry.
        name: the name of the image in kfgcp.toml.
        before: the digest that has the tag, None when none has it.
        after: the digest that gets the tag, None when the tag is removed.
    """

    tag: str
    image: str
    name: str
    before: str | None
    after: str | None

    @property
    def line(self) -> str:
        """The move in words."""
        if self.after is None:
            return f"image tag {self.tag}: removed from {self._text(self.before)}"
        if self.before is None:
            return f"image tag {self.tag}: {self._text(self.after)}"
        return f"image tag {self.tag}: {self._text(self.before)} -> {self._text(self.after)}"

    def _text(self, digest: str | None) -> str:
        return f"{self.name}@{digest or ''}"[: len(self.name) + 1 + _DIGEST_LENGTH]


def move_of(
    tag: str, image: str, registry: str, before: str | None, after: str | None
) -> ImageTagMove | None:
    """Return what to do with the tag of a schedule at an image, None for nothing.

    Args:
        tag: the tag.
        image: the name of the image without a tag, with the registry.
        registry: the image_registry of the project.
        before: the digest that has the tag, None when none has it.
        after: the digest that the schedule uses, None when it does not use the image.

    Example:
        >>> digest = "sha256:" + "0123456789abcdef" * 4
        >>> image = "registry.example/components-gcp"
        >>> move_of("use-daily-820c32", image, "registry.example", None, digest).line
        'image tag use-daily-820c32: gcp@sha256:0123456789ab'
    """
    if before == after:
        return None
    name = image.removeprefix(f"{registry}/")
    short_name = name.removeprefix(COMPONENT_PREFIX)
    if short_name in COMPONENT_IMAGES:
        name = short_name
    return ImageTagMove(tag, image, name, before, after)


def locked_images(locked: Mapping[str, Locked], registry: str) -> tuple[str, ...]:
    """Return the images of images.lock that are in a registry, without tags.

    Args:
        locked: the entries of images.lock, by the names of the images.
        registry: the image_registry of the project.
    """
    images: list[str] = []
    for name in sorted(locked):
        entry = locked[name]
        path = f"{COMPONENT_PREFIX}{name}" if name in COMPONENT_IMAGES else name
        if entry.digest and entry.registry == registry and re.fullmatch(_PATH, path):
            images.append(f"{registry}/{path}")
    return tuple(images)


def pinned_images(images: Iterable[str], registry: str) -> dict[str, str]:
    """Return the digests of the images that are in a registry and pinned, by name without a tag.

    Args:
        images: the images of a compiled pipeline.
        registry: the image_registry of the project.

    Example:
        >>> digest = "sha256:" + "0" * 64
        >>> pinned = pinned_images([f"r.example/shop@{digest}", "python:3.12"], "r.example")
        >>> pinned == {"r.example/shop": digest}
        True
    """
    digests: dict[str, str] = {}
    for image in sorted(images):
        if not image.startswith(f"{registry}/"):
            continue
        match = _PINNED.fullmatch(image.removeprefix(f"{registry}/"))
        if match is not None:
            digests[f"{registry}/{match['path']}"] = match["digest"]
    return digests
