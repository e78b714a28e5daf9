"""The requests about one repository of Artifact Registry.

The paths and the bodies are those of `kfp.registry.RegistryClient` and of the types in
google-cloud-artifact-registry (artifactregistry_v1). Files go to `LOCATION-kfp.pkg.dev`, everything
else to `artifactregistry.googleapis.com`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from kfgcp.backends.vertex.registry_addresses import API, DIGEST, RepositoryAddress
from kfgcp.config import Environment
from kfgcp.errors import BadAnswer, ConfigError, NotFound
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import HINT, list_of, message, read, required_text, text, time
from kfgcp.services.redact import redacted_line

SERVICE: Final = "Artifact Registry"
FORMAT: Final = "KFP"

# "Maximum page size is 1,000" (ListVersionsRequest, ListTagsRequest and ListPackagesRequest).
PAGE_SIZE: Final = 1000

# `Version.related_tags` has at most this many tags.
MAX_RELATED_TAGS: Final = 100

_REPOSITORY: Final = message({"format": text})
_PACKAGE: Final = message({"name": required_text}, required=("name",))
_TAG: Final = message({"name": text, "version": text})
_LISTED_TAG: Final = message(
    {"name": required_text, "version": required_text}, required=("name", "version")
)
_VERSION: Final = message(
    {"name": required_text, "createTime": time, "relatedTags": list_of(_TAG)}, required=("name",)
)
# The answer to an upload (`RegistryClient.upload_pipeline`).
_UPLOADED: Final = re.compile(r"(?P<package>[^/\s]+)/(?P<digest>sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version in a list.

    Attributes:
        digest: the name of the version: `sha256:` and 64 digits.
        created_at: RFC 3339 text, "" when the answer does not have it.
        tags: the tags that point to it. When there are MAX_RELATED_TAGS, more may be missing.
    """

    digest: str
    created_at: str
    tags: tuple[str, ...]


class RepositoryClient:
    """Sends the requests about one repository.

    Args:
        address: the address of the repository.
        env: the environment whose sign-in the requests use. It may have any backend.
        endpoint: the address of a stand-in that answers for both hosts, None for Google's hosts.
        seconds: how long a request may take with all its retries.
    """

    def __init__(
        self, address: RepositoryAddress, env: Environment, *, endpoint: str | None, seconds: float
    ) -> None:
        self.address = address
        tokens = token_source(env)
        self._api = ServiceClient(endpoint or API, tokens, service=SERVICE, seconds=seconds)
        self._files = ServiceClient(
            endpoint or address.host, tokens, service=SERVICE, seconds=seconds
        )

    # -- reading

    def read_format(self) -> str:
        """Return the format of the repository, such as `KFP` or `DOCKER`.

        Raises:
            NotFound: the repository does not exist.
        """
        answer = self._api.get(f"v1/{self.address.name}")
        repository = read(answer, _REPOSITORY, service=SERVICE, thing="a repository")
        return str(repository.get("format") or "")

    def check_repository(self) -> None:
        """Check that the repository exists and stores pipelines.

        Raises:
            ConfigError: the repository does not exist, or has another format than KFP.
        """
        address = self.address
        command = (
            f"gcloud artifacts repositories create {address.repository} --repository-format=kfp"
            f" --location={address.location} --project={address.project}"
        )
        try:
            repository_format = self.read_format()
        except NotFound:
            raise ConfigError(
                f"Artifact Registry has no repository {address.url}.", hint=command
            ) from None
        if repository_format != FORMAT:
            raise ConfigError(
                f"{address.url} in Artifact Registry has the format"
                f" {redacted_line(repository_format, limit=60)!r}, not KFP.",
                hint=f"Set pipeline_registry to a repository of the format KFP. {command}",
            )

    def list_packages(self) -> Iterator[str]:
        """Yield the names of the packages."""
        path = f"v1/{self.address.name}/packages"
        for item in self._api.pages(path, None, "packages", size=PAGE_SIZE):
            package = read(item, _PACKAGE, service=SERVICE, thing="a package")
            yield _last_segment(package["name"])

    def list_versions(self, package: str) -> list[ListedVersion]:
        """Return the versions of a package with their tags.

        This costs one request for 1,000 versions. A second list of tags is read when the tags of
        the first list may be incomplete: a version has MAX_RELATED_TAGS tags, or none has a tag.

        Raises:
            NotFound: the package does not exist.
        """
        path = f"v1/{self.address.package_name(package)}/versions"
        # Only the view FULL has tags (VersionView).
        items = self._api.pages(path, {"view": "FULL"}, "versions", size=PAGE_SIZE)
        versions = [_read_version(item) for item in items]
        tag_counts = [len(version.tags) for version in versions]
        if not versions or 0 < max(tag_counts) < MAX_RELATED_TAGS:
            return versions
        tags_by_digest = self._list_tags(package)
        return [
            ListedVersion(
                version.digest, version.created_at, tuple(tags_by_digest.get(version.digest, ()))
            )
            for version in versions
        ]

    def _list_tags(self, package: str) -> dict[str, list[str]]:
        """Return the tags of a package by the digest that they point to."""
        path = f"v1/{self.address.package_name(package)}/tags"
        tags_by_digest: dict[str, list[str]] = {}
        for item in self._api.pages(path, None, "tags", size=PAGE_SIZE):
            tag = read(item, _LISTED_TAG, service=SERVICE, thing="a tag")
            digest = _last_segment(tag["version"])
            tags_by_digest.setdefault(digest, []).append(_last_segment(tag["name"]))
        return tags_by_digest

    def read_tag(self, package: str, tag: str) -> str:
        """Return the digest of the version that a tag points to now.

        Raises:
            NotFound: the package does not have the tag.
        """
        answer = self._api.get(f"v1/{self._tag_name(package, tag)}")
        fields = read(answer, _TAG, service=SERVICE, thing="a tag")
        digest = _last_segment(str(fields.get("version") or ""))
        if not DIGEST.fullmatch(digest):
            raise BadAnswer(
                "Artifact Registry answered with a tag whose version has no digest:"
                f" {redacted_line(digest, limit=100)}.",
                hint=HINT,
            )
        return digest

    def find_tag(self, package: str, tag: str) -> str | None:
        """Return the digest that a tag points to now, None when the package does not have it."""
        try:
            return self.read_tag(package, tag)
        except NotFound:
            return None

    def download(self, package: str, label: str) -> str:
        """Return the text of a version. label: a tag or a digest.

        Raises:
            NotFound: the version does not exist.
        """
        return self._files.exchange("GET", self.address.file_path(package, label)).text()

    # -- writing

    def upload(self, content: bytes, tags: Sequence[str], *, repeatable: bool) -> tuple[str, str]:
        """Add a version, and return the name of its package and its digest.

        The service takes the name of the package from the pipeline.

        Args:
            content: the file.
            tags: the tags of the version. Tags of other versions are moved.
            repeatable: whether the request is sent again when its answer is lost.
        """
        boundary = f"kfgcp-{secrets.token_hex(16)}"
        path = f"{self.address.project}/{self.address.repository}"
        response = self._files.exchange(
            "POST",
            path,
            data=_form(boundary, content, tags),
            content_type=f"multipart/form-data; boundary={boundary}",
            repeatable=repeatable,
        )
        answer = response.text().strip()
        match = _UPLOADED.fullmatch(answer)
        if match is None:
            bad_answer = BadAnswer(
                "Artifact Registry answered an upload with"
                f" {redacted_line(answer, limit=100)!r}, not with PACKAGE/sha256:DIGEST.",
                hint=HINT,
            )
            raise bad_answer.amended(unknown=True)
        return unquote(match["package"]), match["digest"]

    def create_tag(self, package: str, tag: str, digest: str) -> None:
        """Add a tag to a version.

        Raises:
            Refused: with status 409, the package has the tag already.
        """
        path = f"v1/{self.address.package_name(package)}/tags"
        body = self._tag_body(package, tag, digest)
        self._api.post(path, params={"tagId": tag}, body=body, repeatable=True)

    def move_tag(self, package: str, tag: str, digest: str) -> None:
        """Let a tag of another version point to a version."""
        path = f"v1/{self._tag_name(package, tag)}"
        body = self._tag_body(package, tag, digest)
        self._api.patch(path, params={"updateMask": "version"}, body=body)

    def delete_tag(self, package: str, tag: str) -> None:
        """Delete a tag. Its version stays.

        Raises:
            NotFound: the package does not have the tag.
        """
        self._api.delete(f"v1/{self._tag_name(package, tag)}")

    def _tag_name(self, package: str, tag: str) -> str:
        """Return the resource name of a tag, quoted for a URL (`Tag.name`)."""
        return f"{self.address.package_name(package)}/tags/{quote(tag, safe='@')}"

    def _tag_body(self, package: str, tag: str, digest: str) -> dict[str, str]:
        return {
            "name": self._tag_name(package, tag),
            "version": self.address.version_name(package, digest),
        }


def _read_version(item: object) -> ListedVersion:
    """Return an item of a list of versions."""
    fields = read(item, _VERSION, service=SERVICE, thing="a version")
    name = fields["name"]
    digest = _last_segment(name)
    if not DIGEST.fullmatch(digest):
        raise BadAnswer(
            "Artifact Registry answered with a version whose name has no digest:"
            f" {redacted_line(name, limit=200)}.",
            hint=HINT,
        )
    tags = {_last_segment(str(tag.get("name") or "")) for tag in fields.get("relatedTags", ())}
    tags.discard("")
    return ListedVersion(digest, fields.get("createTime", ""), tuple(sorted(tags)))


def _last_segment(name: str) -> str:
    """Return the last segment of a resource name without its escapes."""
    return unquote(name.rpartition("/")[2])


def _form(boundary: str, content: bytes, tags: Sequence[str]) -> bytes:
    """Return the body of an upload (RFC 7578), with the fields of `RegistryClient`."""
    disposition = 'Content-Disposition: form-data; name="content"; filename="pipeline.yaml"'
    parts: list[bytes] = []
    if tags:
        field = 'Content-Disposition: form-data; name="tags"'
        parts.append(f"--{boundary}\r\n{field}\r\n\r\n{','.join(tags)}\r\n".encode())
    parts.append(f"--{boundary}\r\n{disposition}\r\n\r\n".encode())
    parts.append(content)
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    return b"".join(parts)
