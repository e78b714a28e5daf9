"""Read, set and delete tags of images in a registry.

The requests are those of the distribution specification of the Open Container Initiative (OCI),
version 1.1. Artifact Registry implements this version at `LOCATION-docker.pkg.dev`, including
"Deleting tags", and accepts the access tokens of Google as bearer tokens
(https://docs.cloud.google.com/artifact-registry/docs/reference/docker-api).
GoogleCloudPlatform/gcr-cleaner:pkg/gcrcleaner/cleaner.go deletes tags there with the same request.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kfgcp.errors import AuthError, BadAnswer, NotFound, Refused, Unsupported
from kfgcp.hosts import LOOPBACK
from kfgcp.services.auth.tokens import Anonymous, TokenSource
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import HINT, message, read, truth
from kfgcp.services.redact import redacted_line
from kfgcp.services.service_response import ServiceResponse

GOOGLE_API: Final = "https://artifactregistry.googleapis.com"

# The media types of one image and of a list of images, in the forms of OCI and of Docker.
MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ACCEPT: Final = ", ".join(MANIFEST_TYPES)

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

# Artifact Registry: LOCATION-docker.pkg.dev/PROJECT/REPOSITORY, and perhaps more segments.
_GOOGLE: Final = re.compile(
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev"
    r"/(?P<project>[a-z0-9][a-z0-9.-]*)/(?P<repository>[a-z][a-z0-9-]*)(?:/.*)?"
)

# The first segment of a name that begins with a host. Docker takes other names from Docker Hub.
_HOST: Final = re.compile(r"localhost|.*[.:].*")

# "If tag deletion is disabled, the registry MUST respond with either a 400 Bad Request or a 405
# Method Not Allowed" (distribution specification, "Deleting tags").
_CANNOT_DELETE: Final = (400, 405)

# A registry that is open for reads can ask for a sign-in before a write. 405 is the answer of a
# registry that takes no writes.
_TAKES_NO_WRITES: Final = (403, 405)

# A plan is possible without these reads, so it does not wait long for a registry.
_READ_SECONDS: Final = 15.0
_READ_RETRIES: Final = 1

_REPOSITORY: Final = message({"dockerConfig": message({"immutableTags": truth})})


class NoSignIn(Anonymous):
    """The source without tokens, for a registry that kfgcp cannot sign in to."""

    sign_in_hint = (
        "kfgcp signs in to registries of Artifact Registry (LOCATION-docker.pkg.dev). Others have"
        " to be open to your network."
    )


def registry_host(address: str) -> str:
    """Return the host of a registry, without a port.

    Args:
        address: the beginning of the names of images.
    """
    return address.partition("/")[0].partition(":")[0].lower()


class ImageRegistry:
    """The images whose names begin with one address. Threads may share this object.

    Args:
        address: the beginning of the names: a host, perhaps with a port, and a path. It must be
            https, except for this machine.
        google_tokens: the tokens for Artifact Registry. No other registry gets them.
        seconds: how long a write may take with all its retries.
        endpoint: the address of a stand-in that answers for the registry and for the API of
            Artifact Registry, None for the registry itself.
    """

    def __init__(
        self,
        address: str,
        google_tokens: TokenSource,
        *,
        seconds: float,
        endpoint: str | None = None,
    ) -> None:
        self.address = address
        self._host = address.partition("/")[0]
        self._google = _GOOGLE.fullmatch(address)
        self._tokens = google_tokens if self._google is not None else NoSignIn()
        self._seconds = seconds
        self._google_api = endpoint or GOOGLE_API
        self._service = "Artifact Registry" if self._google is not None else "The registry"
        scheme = "http" if registry_host(address) in LOOPBACK else "https"
        self._client = ServiceClient(
            endpoint or f"{scheme}://{self._host}",
            self._tokens,
            service=self._service,
            seconds=seconds,
            needs_token=self._google is not None,
        )

    @property
    def deletes_tags(self) -> bool:
        """Whether the registry is known to delete tags. Many others cannot."""
        return self._google is not None

    def check(self) -> None:
        """Check that tags can be moved.

        Raises:
            Unsupported: the repository of Artifact Registry has immutable tags, or the images are
                on Docker Hub.
            BackendError: the repository cannot be read.
        """
        if _HOST.fullmatch(self._host) is None:
            raise Unsupported(f"{self.address} is on Docker Hub, where kfgcp cannot sign in.")
        if self._google is None:
            return
        client = ServiceClient(
            self._google_api, self._tokens, service=self._service, seconds=self._seconds
        )
        google = self._google
        parent = f"v1/projects/{google['project']}/locations/{google['location']}"
        path = f"{parent}/repositories/{google['repository']}"
        answer = client.get(path, seconds=_READ_SECONDS, retries=_READ_RETRIES)
        repository = read(answer, _REPOSITORY, service=self._service, thing="a repository")
        # "The repository which enabled this flag prevents all tags from being modified, moved or
        # deleted" (Repository.DockerRepositoryConfig of artifactregistry_v1).
        if repository.get("dockerConfig", {}).get("immutableTags"):
            raise Unsupported(f"The tags of {self.address} are immutable.")

    def read_tag(self, image: str, tag: str) -> str | None:
        """Return the digest that a tag of an image points to, None when the image does not have it.

        Args:
            image: the name of the image without a tag, with the registry.
            tag: the tag.

        Raises:
            BadAnswer: the answer has no digest.
            BackendError: the registry refuses the request or cannot be reached.
        """
        path = self._path(image, tag)
        try:
            response = self._client.exchange(
                "HEAD", path, accept=_ACCEPT, seconds=_READ_SECONDS, retries=_READ_RETRIES
            )
        except NotFound:
            return None
        except AuthError as error:
            raise error.amended(message=f"{self._host} did not accept the sign-in.") from None
        except Refused as refused:
            # The answer to a HEAD has no text that explains the refusal.
            text = f"{self._host} refused to show tags of images ({refused.status})."
            raise refused.amended(message=text) from None
        digest = _digest_header(response)
        if digest is None:
            raise BadAnswer(f"{self._host} answered HEAD {path} without a digest.", hint=HINT)
        return digest

    def set_tag(self, image: str, digest: str, tag: str) -> bool:
        """Let a tag of an image point to a digest.

        The manifest is written again under the tag, byte for byte, so it keeps its digest.

        Args:
            image: the name of the image without a tag, with the registry.
            digest: `sha256:` and 64 digits.
            tag: the tag. It may point to another digest of the image.

        Returns:
            False when the registry takes no writes without a sign-in, and kfgcp cannot sign in.

        Raises:
            NotFound: the registry does not have the digest.
            BadAnswer: the registry sent another manifest, or points the tag to another digest.
            BackendError: the registry refuses the request or cannot be reached.
        """
        with self._explained("roles/artifactregistry.writer"):
            source = self._client.exchange("GET", self._path(image, digest), accept=_ACCEPT)
            media_type = source.headers.get("content-type", "").partition(";")[0].strip()
            actual_digest = f"sha256:{hashlib.sha256(source.body).hexdigest()}"
            if actual_digest != digest or media_type not in MANIFEST_TYPES:
                raise BadAnswer(
                    f"{self._host} answered the request for {image}@{digest} with another"
                    f" manifest ({redacted_line(media_type, limit=80) or 'no type'}).",
                    hint=HINT,
                )
            try:
                written = self._client.exchange(
                    "PUT", self._path(image, tag), data=source.body, content_type=media_type
                )
            except (AuthError, Refused) as error:
                if self._is_closed(error):
                    return False
                raise
        # The header is optional in the answer to a PUT.
        tag_digest = _digest_header(written) or self.read_tag(image, tag)
        if tag_digest != digest:
            raise BadAnswer(
                f"{self._host} lets the tag {tag} of {image} point to {tag_digest}, not to"
                f" {digest}.",
                hint=HINT,
            )
        return True

    def delete_tag(self, image: str, tag: str) -> bool:
        """Delete a tag of an image. Its manifest stays.

        Args:
            image: the name of the image without a tag, with the registry.
            tag: the tag. It may have been deleted before.

        Returns:
            False when the registry cannot delete tags, or only after a sign-in that kfgcp does not
            have.

        Raises:
            BackendError: the registry refuses the request or cannot be reached.
        """
        try:
            # Unlike the role of a writer, this role may also delete tags.
            with self._explained("roles/artifactregistry.repoAdmin"):
                self._client.exchange("DELETE", self._path(image, tag))
        except NotFound:
            return True
        except (AuthError, Refused) as error:
            if isinstance(error, Refused) and error.status in _CANNOT_DELETE:
                return False
            if self._is_closed(error):
                return False
            raise
        return True

    def _is_closed(self, error: AuthError | Refused) -> bool:
        """Return whether a write was refused because kfgcp cannot sign in to the registry."""
        if self._google is not None:
            return False
        return isinstance(error, AuthError) or error.status in _TAKES_NO_WRITES

    def _path(self, image: str, reference: str) -> str:
        """Return the path of a manifest. reference: a tag or a digest."""
        if not image.startswith(f"{self.address}/"):
            raise ValueError(f"{image} is not in {self.address}")
        return f"v2/{image.partition('/')[2]}/manifests/{reference}"

    @contextmanager
    def _explained(self, role: str) -> Iterator[None]:
        """Name the missing role in the hint when a request of a `with` block is refused."""
        try:
            yield
        except Refused as refused:
            if refused.status != 403 or self._google is None:
                raise
            google = self._google
            raise refused.amended(
                hint=(
                    f"Ask for {role}: gcloud artifacts repositories add-iam-policy-binding"
                    f" {google['repository']} --location={google['location']}"
                    f" --project={google['project']} --member=user:YOUR_ACCOUNT --role={role}"
                )
            ) from None


def _digest_header(response: ServiceResponse) -> str | None:
    """Return the digest that a registry names, None when it names none."""
    digest = response.headers.get("docker-content-digest", "").strip()
    return digest if DIGEST.fullmatch(digest) else None
