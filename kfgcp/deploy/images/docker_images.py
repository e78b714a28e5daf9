"""Build, push and look up images with the Docker engine of this machine.

The engine asks the registry for us, with the sign-in that `docker login` or a credential helper
such as that of gcloud has written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from kfgcp.deploy.images.catalogue import DEFAULT_PLATFORM, Image
from kfgcp.errors import BackendError
from kfgcp.plain_text import plain
from kfgcp.services.docker_engine import connect, engine_errors, explain
from kfgcp.spec.credentials import mask_credentials

if TYPE_CHECKING:
    from docker.models.images import Image as LocalImage

# The hint of a failed build has at most this many of the last lines of its output.
_HINT_LINES: Final = 15

# A context below this size is packed in memory.
_MEMORY_BYTES: Final = 50_000_000

Log = Callable[[str], None]
"""A function that takes a line of the output of Docker."""


class DockerImages:
    """The images of the Docker engine of this machine.

    Args:
        log: takes each line of the output of builds.

    Raises:
        MissingExtra: the docker package is not installed.
        Unsupported: no Docker engine answers.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._client = connect()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def has(self, image: str) -> bool:
        """Return whether the engine has an image."""
        return self._find(image) is not None

    def resolve_base(self, base: str) -> str:
        """Return the digest of the image that others begin with.

        An image that was never in a registry has no digest there. Its id takes the place.

        Raises:
            BackendError: the image is neither in its registry nor here.
        """
        local = self._find(base)
        if local is not None and not local.attrs.get("RepoDigests"):
            return str(local.id)
        digest = None
        problem = "its registry does not have it"
        try:
            digest = self.registry_digest(base)
        except BackendError as error:
            problem = error.message.partition(": ")[2] or error.message
        if digest is not None:
            return digest
        if local is not None:
            return str(local.attrs["RepoDigests"][0]).partition("@")[2]
        raise BackendError(
            f"The base image {base} cannot be found: {problem.rstrip('.')}.",
            hint="Name another one for tabular: kfgcp images build tabular --base IMAGE",
        )

    def registry_digest(self, image: str) -> str | None:
        """Return the digest that the registry gave to an image, None when it does not have it.

        Raises:
            BackendError: the registry refused the question or cannot be reached.
        """
        from docker.errors import APIError, NotFound

        try:
            with engine_errors(f"looking up the image {image}"):
                return str(self._client.images.get_registry_data(image).id)
        except NotFound:
            # The engine answers with the status of the registry (statusCodeFromDistributionError in
            # moby/moby:api/server/httpstatus/status.go), and with 500 when it got no answer.
            return None
        except APIError as error:
            raise BackendError(
                f"The registry of {image} cannot be asked for it: {plain(explain(error))}",
                hint=(
                    "Check the address of the registry, and sign in: docker login HOST, or gcloud"
                    " auth configure-docker HOST"
                ),
            ) from None

    def build(self, image: Image, arguments: Mapping[str, str], network: str | None) -> None:
        """Build an image, and give it its tag.

        Args:
            image: the image.
            arguments: values of `ARG` lines.
            network: the network of `RUN` lines, None for the default of Docker.

        Raises:
            BackendError: the Dockerfile fails. No image is left that has the tag.
        """
        from docker.errors import APIError

        all_arguments = {**arguments, **image.arguments}
        if image.base:
            all_arguments["BASE"] = self._base_reference(image)
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as archive:
            image.context.pack(archive)
            archive.seek(0)
            try:
                with engine_errors(f"building the image {image.name}"):
                    answers = self._client.api.build(
                        fileobj=archive,
                        custom_context=True,
                        dockerfile=image.context.dockerfile,
                        tag=image.tagged,
                        buildargs=all_arguments,
                        labels=_labels(image),
                        network_mode=network,
                        platform=image.platform,
                        # Docker 20.10 takes layers for another platform from its cache.
                        nocache=image.platform != DEFAULT_PLATFORM,
                        rm=True,
                        forcerm=True,
                        decode=True,
                    )
                    self._follow_build(image, answers, arguments.values())
            except APIError as error:
                raise _build_error(image, plain(explain(error)), ()) from None

    def push(self, image: Image) -> str:
        """Push an image, and return its digest.

        Raises:
            BackendError: the registry refused it or cannot be reached.
        """
        from docker.errors import APIError

        digest = ""
        try:
            with engine_errors(f"pushing the image {image.name}"):
                answers = self._client.api.push(
                    image.repository, image.tag, stream=True, decode=True
                )
                for answer in answers:
                    if "error" in answer:
                        raise _push_error(image, str(answer["error"]))
                    digest = (answer.get("aux") or {}).get("Digest") or digest
        except APIError as error:
            raise _push_error(image, plain(explain(error))) from None
        digest = digest or self.registry_digest(image.tagged) or ""
        if not digest:
            raise _push_error(image, "the registry does not have it after the push")
        return digest

    def _follow_build(
        self, image: Image, answers: Iterable[Mapping[str, object]], values: Collection[str]
    ) -> None:
        """Log the output of a build without the passwords in the values of its arguments."""
        lines: list[str] = []
        for answer in answers:
            for output_line in _output_lines(answer):
                line = mask_credentials(output_line, values)
                lines.append(line)
                self._log(line)
            if "error" in answer:
                problem = mask_credentials(str(answer["error"]), values)
                raise _build_error(image, _one_line(problem), lines)
        built = self._find(image.tagged)
        if built is None:
            raise _build_error(image, "the Docker engine does not have it after the build", lines)
        self._check_platform(image, built)

    def _check_platform(self, image: Image, built: LocalImage) -> None:
        """Remove an image for another platform than the one that was asked for.

        Docker 20.10 begins with an image of this machine although it is for another platform.

        Raises:
            BackendError: the image is for another platform.
        """
        platform = f"{built.attrs.get('Os')}/{built.attrs.get('Architecture')}"
        # The part after the processor is a variant, which Docker does not record for all images.
        if "/".join(image.platform.split("/")[:2]) == platform:
            return
        self._client.images.remove(image.tagged, force=True)
        problem = f"Docker made it for {platform} instead of {image.platform}"
        hint = "Check that the image that it begins with is for this platform."
        if image.base and image.base_image is None:
            hint = f"Get the other base: docker pull --platform {image.platform} {image.base}"
        raise _build_error(image, problem, (hint,))

    def _base_reference(self, image: Image) -> str:
        """Return the image to begin with, with its digest when Docker can look it up."""
        if image.base_image is not None or not image.base_digest:
            return image.base
        local = self._find(image.base)
        if local is not None and local.id == image.base_digest:
            return image.base
        name, _, tag = image.base.rpartition(":")
        # The part after a colon can be a port: registry:5000/image.
        repository = name if name and "/" not in tag else image.base
        return f"{repository.partition('@')[0]}@{image.base_digest}"

    def _find(self, image: str) -> LocalImage | None:
        """Return an image of the engine, None when the engine does not have it."""
        from docker.errors import APIError, ImageNotFound

        try:
            with engine_errors(f"looking up the image {image}"):
                return self._client.images.get(image)
        except ImageNotFound:
            return None
        except APIError as error:
            raise BackendError(
                f"The Docker engine cannot look up the image {image}: {plain(explain(error))}",
                hint="Check the engine: docker info",
            ) from None


def _labels(image: Image) -> dict[str, str]:
    """Return the labels that say what an image was made of (the annotations of the Open Container
    Initiative)."""
    labels = {"org.opencontainers.image.version": image.tag}
    if image.base:
        labels["org.opencontainers.image.base.name"] = image.base
    if image.base_digest:
        labels["org.opencontainers.image.base.digest"] = image.base_digest
    return labels


def _one_line(text: str) -> str:
    return plain(" ".join(text.split()))


def _output_lines(answer: Mapping[str, object]) -> Iterator[str]:
    for line in str(answer.get("stream") or "").splitlines():
        if line.strip():
            yield line.rstrip()


def _build_error(image: Image, problem: str, lines: Iterable[str]) -> BackendError:
    last_lines = list(lines)[-_HINT_LINES:]
    return BackendError(
        f"The image {image.name} cannot be built: {problem}", hint="\n".join(last_lines)
    )


def _push_error(image: Image, problem: str) -> BackendError:
    return BackendError(
        f"The registry did not take the image {image.name} ({image.repository}):"
        f" {_one_line(problem)}",
        hint=(
            "Sign in (docker login, or gcloud auth configure-docker HOST), and check that the"
            " repository exists and that you may write to it."
        ),
    )
