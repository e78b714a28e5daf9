"""Read which images of a project have the tags of its schedules."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from typing import Final

from kfgcp.config import Environment, Project
from kfgcp.deploy.images.lock import read_lock
from kfgcp.deploy.images.pins import is_stand_in
from kfgcp.deploy.plan.image_tags import ImageTagMove, locked_images, move_of, pinned_images
from kfgcp.errors import ConfigError, KfgcpError
from kfgcp.hosts import LOOPBACK
from kfgcp.services.auth.google import google_tokens
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.auth.tokens import TokenSource
from kfgcp.services.image_registry import ImageRegistry, registry_host

StartRead = Callable[[Callable[[], str | None]], "Future[str | None]"]
"""A function that starts a read in a thread."""

_NOTE: Final = "Images of schedules get no tag use-…"


class ImageTagReader:
    """Reads the tags of schedules at the images of a project.

    A plan is possible without these tags, so a failed request is a note and not an error.

    Args:
        registry: the registry of the images, None for a project without tags of images.
        images: the images of images.lock in this registry, without tags.
        problem: why images get no tags, for a note. "" for no note.
    """

    def __init__(
        self, registry: ImageRegistry | None, images: Sequence[str] = (), problem: str = ""
    ) -> None:
        self.registry = registry
        self._images = images
        self._problem = problem
        self._lock = threading.Lock()
        self._has_schedules = False
        self._is_checked = False
        self._reads: dict[tuple[str, str], Future[str | None]] = {}

    @property
    def notes(self) -> list[str]:
        """The reason why images get no tags, on one line. Empty when they get tags."""
        if not self._problem or not self._has_schedules:
            return []
        return [f"{_NOTE}: {self._problem}"]

    def start(self, tags: Sequence[str], start_read: StartRead) -> None:
        """Start to read tags at all images of images.lock.

        Args:
            tags: the tags of schedules.
            start_read: starts a read in a thread.
        """
        registry = self.registry
        self._has_schedules = bool(tags)
        if registry is None:
            return
        for tag in tags:
            for image in self._images:

                def read_digest(image: str = image, tag: str = tag) -> str | None:
                    return self._read(registry, image, tag)

                self._reads[image, tag] = start_read(read_digest)

    def wait(self) -> None:
        """Wait for all reads that have started."""
        wait_for_futures(self._reads.values())

    def moves(self, tag: str, images: Iterable[str]) -> tuple[ImageTagMove, ...]:
        """Return what to do with the tag of a schedule, nothing when tags cannot be read.

        Args:
            tag: the tag.
            images: the images of its pipeline, none when the schedule is deleted.
        """
        registry = self.registry
        if registry is None:
            return ()
        digests = pinned_images(images, registry.address)
        moves: list[ImageTagMove] = []
        for image in sorted(digests.keys() | set(self._images)):
            if (image, tag) in self._reads:
                before = self._reads[image, tag].result()
            else:
                # images.lock does not have this image any more, so `start` did not read its tag.
                before = self._read(registry, image, tag)
            move = move_of(tag, image, registry.address, before, digests.get(image))
            if move is not None:
                moves.append(move)
        return () if self._problem else tuple(moves)

    def needed(self, moves: Sequence[ImageTagMove]) -> tuple[ImageTagMove, ...]:
        """Return the moves that are a reason to change a schedule that has no other change.

        Many registries cannot delete tags. There, each plan would show the same removal again.
        """
        if self.registry is not None and self.registry.deletes_tags:
            return tuple(moves)
        return tuple(move for move in moves if move.after is not None)

    def _read(self, registry: ImageRegistry, image: str, tag: str) -> str | None:
        """Return the digest of a tag, None without the tag or after a problem.

        After a problem, no further request is sent.
        """
        with self._lock:
            if not self._is_checked:
                self._is_checked = True
                try:
                    registry.check()
                except KfgcpError as error:
                    self._problem = error.message
        if self._problem:
            return None
        try:
            return registry.read_tag(image, tag)
        except KfgcpError as error:
            self._problem = error.message
            return None


def open_image_tags(project: Project, env: Environment) -> ImageTagReader:
    """Return the reader of the tags at the images of a project. It has sent no request yet.

    The stand-in of a service pulls no images, so its schedules set tags only in a registry on this
    machine.

    Args:
        project: the project.
        env: the environment of the schedules. Its sign-in is used for Artifact Registry.
    """
    address = project.image_registry
    if address is None:
        return ImageTagReader(None)
    if is_stand_in(env) and registry_host(address) not in LOOPBACK:
        return ImageTagReader(None)
    try:
        locked = read_lock(project.root)
        registry = ImageRegistry(address, _google_tokens(env), seconds=env.request_seconds)
    except ConfigError as error:
        return ImageTagReader(None, problem=error.message)
    return ImageTagReader(registry, locked_images(locked, address))


def _google_tokens(env: Environment) -> TokenSource:
    """Return the source of tokens for Artifact Registry."""
    if env.declaration.signs_in_to_google:
        return token_source(env)
    # The tokens of this environment are for another server, and never go to Google.
    return google_tokens(env.get("impersonate_service_account"))
