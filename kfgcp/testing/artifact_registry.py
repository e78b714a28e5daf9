"""Artifact Registry of a stand-in: repositories of the format KFP, with compiled pipelines.

Clients can only read them. Tests add versions with `publish`. The paths are those that
`kfp.registry.RegistryClient` requests. The name of a version is the SHA-256 of its content. Nothing
confirms that the service uses the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from kfgcp.testing.google import not_found
from kfgcp.testing.server import Request, Response, Route

T = TypeVar("T")

_PACKAGE_PATH: Final = (
    "/v1/projects/{project}/locations/{location}/repositories/{repository}/packages/{package}"
)
_DOWNLOAD_PATH: Final = "/{project}/{repository}/{package}"


@dataclass(frozen=True, slots=True)
class _Key:
    """The key of a version or a tag of a package. label: the digest of the version, or the tag."""

    project: str
    repository: str
    package: str
    label: str


class ArtifactRegistry:
    """The packages of a location. Several threads may use it."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._contents: dict[_Key, bytes] = {}
        self._digests_by_tag: dict[_Key, str] = {}

    def publish(
        self, project: str, repository: str, package: str, content: str, tags: Sequence[str]
    ) -> str:
        """Add a version, and return its address. The address contains the digest of the content.

        Args:
            project: the id of the project.
            repository: the name of the repository.
            package: the name of the package.
            content: the text of the compiled pipeline.
            tags: the tags that name this version from now on.
        """
        data = content.encode()
        digest = hashlib.sha256(data).hexdigest()
        self._contents[_Key(project, repository, package, digest)] = data
        for tag in tags:
            self._digests_by_tag[_Key(project, repository, package, tag)] = digest
        host = f"https://{self._location}-kfp.pkg.dev"
        return f"{host}/{project}/{repository}/{package}/sha256:{digest}"

    def routes(self) -> list[Route]:
        """Return the routes of the service.

        They must come after the routes of all other services. Many paths of other services also
        fit the template of a download, `/{project}/{repository}/{package}/{tag}`.
        """
        return [
            Route("GET", _PACKAGE_PATH + "/tags/{tag}", self._get_tag),
            Route("GET", _PACKAGE_PATH + "/versions/sha256:{digest}", self._get_version),
            # `{tag}` fits only text without a colon, so the path of a digest needs its own route.
            Route("GET", _DOWNLOAD_PATH + "/sha256:{digest}", self._download_version),
            Route("GET", _DOWNLOAD_PATH + "/{tag}", self._download_tag),
        ]

    def _get_tag(
        self, request: Request, project: str, location: str, repository: str, package: str, tag: str
    ) -> Response:
        package_name = _package_name(project, location, repository, package)
        name = f"{package_name}/tags/{tag}"
        key = _Key(project, repository, package, tag)
        digest = _look_up(self._digests_by_tag, key, name)
        return Response(body={"name": name, "version": f"{package_name}/versions/sha256:{digest}"})

    def _get_version(
        self,
        request: Request,
        project: str,
        location: str,
        repository: str,
        package: str,
        digest: str,
    ) -> Response:
        package_name = _package_name(project, location, repository, package)
        name = f"{package_name}/versions/sha256:{digest}"
        _look_up(self._contents, _Key(project, repository, package, digest), name)
        return Response(body={"name": name})

    def _download_version(
        self, request: Request, project: str, repository: str, package: str, digest: str
    ) -> Response:
        key = _Key(project, repository, package, digest)
        data = _look_up(self._contents, key, f"{package} sha256:{digest}")
        return Response(body=data, headers={"Content-Type": "application/octet-stream"})

    def _download_tag(
        self, request: Request, project: str, repository: str, package: str, tag: str
    ) -> Response:
        key = _Key(project, repository, package, tag)
        digest = _look_up(self._digests_by_tag, key, f"{package} {tag}")
        return self._download_version(request, project, repository, package, digest)


def _package_name(project: str, location: str, repository: str, package: str) -> str:
    """Return the resource name of a package."""
    parent = f"projects/{project}/locations/{location}"
    return f"{parent}/repositories/{repository}/packages/{package}"


def _look_up(values: Mapping[_Key, T], key: _Key, name: str) -> T:
    """Return the value of a key, or raise 404. name: the missing resource in the message."""
    if key not in values:
        raise not_found(name)
    return values[key]
