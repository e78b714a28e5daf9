"""Compiled pipelines in Artifact Registry: a repository of format KFP, which can be read.

Paths are those that `kfp.registry.RegistryClient` asks for. A version is named by the SHA-256 of
its content; that the service does the same is not confirmed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from kfgcp.testing.google import not_found
from kfgcp.testing.server import Request, Response, Route


class ArtifactRegistry:
    """The packages of a location. Threads may share it."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._contents: dict[tuple[str, ...], bytes] = {}
        self._tags: dict[tuple[str, ...], str] = {}

    def publish(
        self, project: str, repository: str, package: str, content: str, tags: Sequence[str]
    ) -> str:
        """Adds a version; its address with the digest."""
        data = content.encode()
        digest = hashlib.sha256(data).hexdigest()
        where = (project, repository, package)
        self._contents[*where, digest] = data
        for tag in tags:
            self._tags[*where, tag] = digest
        return (
            f"https://{self._location}-kfp.pkg.dev/{project}/{repository}/{package}/sha256:{digest}"
        )

    def routes(self) -> list[Route]:
        """Those of the repository come last: their paths are like many others."""
        packages = "/v1/projects/{project}/locations/{location}/repositories/{repository}/packages/{package}"
        return [
            Route("GET", packages + "/tags/{tag}", self._get_tag),
            Route("GET", packages + "/versions/sha256:{digest}", self._get_version),
            Route("GET", "/{project}/{repository}/{package}/sha256:{digest}", self._download),
            Route("GET", "/{project}/{repository}/{package}/{tag}", self._download_tag),
        ]

    def _get_tag(
        self, request: Request, project: str, location: str, repository: str, package: str, tag: str
    ) -> Response:
        name = (
            f"projects/{project}/locations/{location}/repositories/{repository}/packages/{package}"
        )
        digest = _known(self._tags, (project, repository, package, tag), f"{name}/tags/{tag}")
        return Response(
            body={"name": f"{name}/tags/{tag}", "version": f"{name}/versions/sha256:{digest}"}
        )

    def _get_version(
        self,
        request: Request,
        project: str,
        location: str,
        repository: str,
        package: str,
        digest: str,
    ) -> Response:
        parent = (
            f"projects/{project}/locations/{location}/repositories/{repository}/packages/{package}"
        )
        name = f"{parent}/versions/sha256:{digest}"
        _known(self._contents, (project, repository, package, digest), name)
        return Response(body={"name": name})

    def _download(
        self, request: Request, project: str, repository: str, package: str, digest: str
    ) -> Response:
        data = _known(
            self._contents, (project, repository, package, digest), f"{package} sha256:{digest}"
        )
        return Response(body=data, headers={"Content-Type": "application/octet-stream"})

    def _download_tag(
        self, request: Request, project: str, repository: str, package: str, tag: str
    ) -> Response:
        digest = _known(self._tags, (project, repository, package, tag), f"{package} {tag}")
        return self._download(request, project, repository, package, digest)


def _known(things: Mapping[tuple[str, ...], Any], key: tuple[str, ...], what: str) -> Any:
    if key not in things:
        raise not_found(what)
    return things[key]
