"""Artifact Registry of a stand-in: repositories of the format KFP, with compiled pipelines.

The sources of its behaviour:

- (client) `kfp.registry.RegistryClient` and its file kfp_pkg_dev.json: paths, forms, and the answer
  to an upload.
- (types) the types of google-cloud-artifact-registry, artifactregistry_v1.
- (gcloud) the help of `gcloud artifacts tags update`: it fails when the tag does not exist.
- (upload) `kfpArtifacts.upload` in the REST reference: package and version are created, and what
  exists is overwritten.
- (protocol) the generic protocol of registries, kubeflow/pipelines#7382: the name of a version is
  the SHA-256 of its file, and a tag can be moved.

Nobody has recorded the service. What has no source is a guess, and says so. The attributes of
`ArtifactRegistry` change the guesses that kfgcp must not depend on.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.google import (
    GoogleError,
    JsonBody,
    check_fields,
    format_time,
    invalid,
    json_body,
    list_page,
    not_found,
    page_body,
    wrong_state,
)
from kfgcp.testing.operations import Operations
from kfgcp.testing.registry_packages import (
    MAX_RELATED_TAGS,
    TAG_NAME,
    Package,
    Repository,
    Version,
    read_upload,
)
from kfgcp.testing.server import Request, Response, Route

# "Maximum page size is 1,000" (types). The size without pageSize is a guess.
MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 100

_REPOSITORY: Final = "/v1/projects/{project}/locations/{location}/repositories/{repository}"
_PACKAGES: Final = _REPOSITORY + "/packages"
_PACKAGE: Final = _PACKAGES + "/{package}"
_TAGS: Final = _PACKAGE + "/tags"
_TAG: Final = _TAGS + "/{tag}"
_VERSIONS: Final = _PACKAGE + "/versions"
# `{name}` fits only text without a colon, so a digest is written with its prefix.
_VERSION: Final = _VERSIONS + "/sha256:{digest}"
_UPLOAD: Final = "/{project}/{repository}"
_DOWNLOAD: Final = "/{project}/{repository}/{package}"
_PAGING: Final = ("pageSize", "pageToken")
_VIEWS: Final = ("", "VERSION_VIEW_UNSPECIFIED", "BASIC", "FULL")
_DELETED: Final = "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata"


def sha256(content: bytes) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    return hashlib.sha256(content).hexdigest()


class ArtifactRegistry:
    """The repositories of a location. Several threads may use it.

    Args:
        location: the location.
        operations: the operations of the location.

    Attributes:
        digest: returns the hexadecimal digest that names the version of a file (protocol). With a
            function that returns another digest each time, equal files are different versions.
        takes_tags: whether an upload sets its tags.
        shows_related_tags: whether the view FULL of a list of versions has tags (types).
        answers_for_missing_packages: whether a list in a package that does not exist is empty. By
            default the answer is 404, which is a guess.
    """

    def __init__(self, location: str, operations: Operations) -> None:
        self.digest: Callable[[bytes], str] = sha256
        self.takes_tags = True
        self.shows_related_tags = True
        self.answers_for_missing_packages = False
        self._location = location
        self._operations = operations
        self._repositories: dict[str, Repository] = {}
        self._lock = threading.RLock()

    # -- for tests

    def make_repository(self, name: str, repository_format: str = "KFP") -> None:
        """Create a repository, unless one with this name exists.

        Args:
            name: the name of the repository.
            repository_format: a word of `Repository.Format` (types), such as KFP or DOCKER.
        """
        with self._lock:
            self._repositories.setdefault(name, Repository(repository_format, time.time()))

    def publish(
        self, project: str, repository: str, package: str, content: str, tags: Sequence[str]
    ) -> str:
        """Add a version, and return its address. The address contains the digest of the content.

        Unlike an upload, this accepts any content and any name of a package.

        Args:
            project: the id of the project.
            repository: the name of the repository. It is created if it does not exist.
            package: the name of the package.
            content: the text of the compiled pipeline.
            tags: the tags that name this version from now on.
        """
        self.make_repository(repository)
        data = content.encode()
        with self._lock:
            target = self._repositories[repository].make_package(package)
            digest = target.add_version(self.digest(data), data)
            for tag in tags:
                target.tags[tag] = digest
        host = f"https://{self._location}-kfp.pkg.dev"
        return f"{host}/{project}/{repository}/{package}/sha256:{digest}"

    def tags(self, repository: str, package: str) -> dict[str, str]:
        """Return the tags of a package with the digests that they point to, `sha256:` and digits.

        The result is empty for a package that does not exist.
        """
        with self._lock:
            stored_package = self._repositories[repository].packages.get(package)
            tags = stored_package.tags if stored_package is not None else {}
            return {tag: f"sha256:{digest}" for tag, digest in tags.items()}

    def files(self, repository: str, package: str) -> dict[str, bytes]:
        """Return the files of a package by their digests, the oldest first."""
        with self._lock:
            stored_package = self._repositories[repository].packages.get(package)
            versions = stored_package.versions if stored_package is not None else {}
            return {f"sha256:{digest}": version.content for digest, version in versions.items()}

    # -- the service

    def routes(self) -> list[Route]:
        """Return the routes of the service.

        They must come after the routes of all other services. Many paths of other services also
        fit the template of a download, `/{project}/{repository}/{package}/{tag}`.
        """
        return [
            Route("GET", _REPOSITORY, self._get_repository),
            Route("GET", _PACKAGES, self._list_packages, _PAGING),
            Route("GET", _PACKAGE, self._get_package),
            Route("DELETE", _PACKAGE, self._delete_package),
            Route("GET", _TAGS, self._list_tags, ("pageSize", "pageToken", "filter")),
            Route("POST", _TAGS, self._create_tag, ("tagId",)),
            Route("GET", _TAG, self._get_tag),
            Route("PATCH", _TAG, self._update_tag, ("updateMask",)),
            Route("DELETE", _TAG, self._delete_tag),
            Route("GET", _VERSIONS, self._list_versions, ("pageSize", "pageToken", "view")),
            Route("GET", _VERSION, self._get_version, ("view",)),
            Route("DELETE", _VERSION, self._delete_version, ("force",)),
            Route("POST", _UPLOAD, self._upload),
            Route("GET", _DOWNLOAD + "/sha256:{digest}", self._download_version),
            Route("GET", _DOWNLOAD + "/{tag}", self._download_tag),
        ]

    def is_upload(self, request: Request, content_type: str) -> bool:
        """Return whether a request is an upload with the form of `RegistryClient` (client)."""
        is_form = content_type == "multipart/form-data"
        return is_form and request.method == "POST" and request.path.count("/") == 2

    def _get_repository(self, request: Request, **segments: str) -> Response:
        with self._lock:
            repository = self._repository(segments)
            times = _times(repository.created, repository.created)
            body = {
                "name": _repository_name(segments),
                "format": repository.format,
                "mode": "STANDARD_REPOSITORY",
                **times,
            }
        return Response(body=body)

    # -- packages

    def _list_packages(self, request: Request, **segments: str) -> Response:
        with self._lock:
            packages = self._repository(segments).packages
            views = [self._package_view(segments, name) for name in sorted(packages)]
        return _list(request, "packages", views)

    def _get_package(self, request: Request, package: str, **segments: str) -> Response:
        with self._lock:
            self._package(segments, package)
            return Response(body=self._package_view(segments, package))

    def _delete_package(self, request: Request, package: str, **segments: str) -> Response:
        """Answer DeletePackage: it deletes all versions and tags, too (types)."""
        with self._lock:
            self._package(segments, package)
            del self._repository(segments).packages[package]
        return self._operations.start(metadata={"@type": _DELETED})

    def _package_view(self, segments: JsonObject, name: str) -> JsonBody:
        package = self._package(segments, name)
        times = _times(package.created, package.updated)
        return {"name": _package_name(segments, name), "displayName": name, **times}

    # -- versions

    def _list_versions(self, request: Request, package: str, **segments: str) -> Response:
        with self._lock:
            target = self._listed_package(segments, package)
            is_full = _is_full(request) and self.shows_related_tags
            views = [
                _version_view(segments, package, target, target.versions[digest], is_full)
                for digest in sorted(target.versions)
            ]
        return _list(request, "versions", views)

    def _get_version(
        self, request: Request, package: str, digest: str, **segments: str
    ) -> Response:
        with self._lock:
            target = self._package(segments, package)
            version = _version(segments, package, target, digest)
            view = _version_view(segments, package, target, version, _is_full(request))
        return Response(body=view)

    def _delete_version(
        self, request: Request, package: str, digest: str, **segments: str
    ) -> Response:
        """Answer DeleteVersion: a version with tags needs `force` (types)."""
        with self._lock:
            target = self._package(segments, package)
            _version(segments, package, target, digest)
            tags = target.tags_of(digest)
            if tags and request.query.get("force") != "true":
                raise wrong_state(f"The version sha256:{digest} has tags: {', '.join(tags)}.")
            for tag in tags:
                del target.tags[tag]
            del target.versions[digest]
        return self._operations.start(metadata={"@type": _DELETED})

    # -- tags

    def _list_tags(self, request: Request, package: str, **segments: str) -> Response:
        with self._lock:
            target = self._listed_package(segments, package)
            views = [_tag_view(segments, package, target, tag) for tag in sorted(target.tags)]
        matching_views = _filtered(views, request.query.get("filter", ""))
        return _list(request, "tags", matching_views)

    def _get_tag(self, request: Request, package: str, tag: str, **segments: str) -> Response:
        with self._lock:
            target = self._tagged_package(segments, package, tag)
            return Response(body=_tag_view(segments, package, target, tag))

    def _create_tag(self, request: Request, package: str, **segments: str) -> Response:
        tag = request.query.get("tagId", "")
        if not TAG_NAME.fullmatch(tag):
            raise invalid(f"The tag id {tag!r} is invalid.", "tag_id")
        with self._lock:
            target = self._package(segments, package)
            digest = _tag_target(request, segments, package, target)
            # The usual error of Google's APIs for a name that is taken. A guess here.
            if tag in target.tags:
                name = _tag_name(segments, package, tag)
                raise GoogleError(409, f"The resource {name} already exists.")
            target.tags[tag] = digest
            return Response(body=_tag_view(segments, package, target, tag))

    def _update_tag(self, request: Request, package: str, tag: str, **segments: str) -> Response:
        """Answer UpdateTag. The tag must exist (gcloud)."""
        if request.query.get("updateMask", "version") != "version":
            raise invalid("The update mask may only contain version.", "update_mask")
        with self._lock:
            target = self._tagged_package(segments, package, tag)
            target.tags[tag] = _tag_target(request, segments, package, target)
            return Response(body=_tag_view(segments, package, target, tag))

    def _delete_tag(self, request: Request, package: str, tag: str, **segments: str) -> Response:
        with self._lock:
            target = self._tagged_package(segments, package, tag)
            del target.tags[tag]
        return Response()

    # -- files

    def _upload(self, request: Request, project: str, repository: str) -> Response:
        """Answer an upload. The answer is `PACKAGE/sha256:DIGEST` (client)."""
        with self._lock:
            target = self._repository({"project": project, "repository": repository})
            if target.format != "KFP":
                # A guess.
                raise wrong_state(f"The repository {repository} has the format {target.format}.")
            upload = read_upload(request)
            package = target.make_package(upload.package)
            digest = package.add_version(self.digest(upload.content), upload.content)
            if self.takes_tags:
                for tag in upload.tags:
                    package.tags[tag] = digest
        answer = f"{upload.package}/sha256:{digest}".encode()
        return Response(body=answer, headers={"Content-Type": "text/plain; charset=utf-8"})

    def _download_version(
        self, request: Request, package: str, digest: str, **segments: str
    ) -> Response:
        with self._lock:
            target = self._package(segments, package)
            content = _version(segments, package, target, digest).content
        return Response(body=content, headers={"Content-Type": "application/octet-stream"})

    def _download_tag(self, request: Request, package: str, tag: str, **segments: str) -> Response:
        with self._lock:
            target = self._tagged_package(segments, package, tag)
            content = target.versions[target.tags[tag]].content
        return Response(body=content, headers={"Content-Type": "application/octet-stream"})

    # -- looking up

    def _repository(self, segments: JsonObject) -> Repository:
        repository = self._repositories.get(str(segments["repository"]))
        if repository is None:
            raise not_found(_repository_name(segments))
        return repository

    def _package(self, segments: JsonObject, name: str) -> Package:
        package = self._repository(segments).packages.get(name)
        if package is None:
            raise not_found(_package_name(segments, name))
        return package

    def _listed_package(self, segments: JsonObject, name: str) -> Package:
        """Return the package of a list. With `answers_for_missing_packages` it may be empty."""
        repository = self._repository(segments)
        if name not in repository.packages and self.answers_for_missing_packages:
            return Package(time.time())
        return self._package(segments, name)

    def _tagged_package(self, segments: JsonObject, name: str, tag: str) -> Package:
        """Return a package that has a tag."""
        package = self._package(segments, name)
        if tag not in package.tags:
            raise not_found(_tag_name(segments, name, tag))
        return package


def _list(request: Request, field: str, views: Sequence[JsonBody]) -> Response:
    """Answer a list method. The views are sorted by their names."""
    page, token = list_page(
        views,
        lambda view: (view["name"],),
        size=request.query.get("pageSize"),
        token=request.query.get("pageToken"),
        scope=f"{request.path} {request.query.get('filter', '')}",
        default=DEFAULT_PAGE,
        maximum=MAX_PAGE,
    )
    # JSON of Protocol Buffers leaves out empty lists. The tests of the client have `{}`, too.
    return Response(body=page_body(field, page, token) if page else {})


def _is_full(request: Request) -> bool:
    """Return whether a request asks for the view FULL (VersionView)."""
    view = request.query.get("view", "")
    if view not in _VIEWS:
        raise invalid(f"Invalid value at 'view': {view}", "view")
    return view == "FULL"


def _version(segments: JsonObject, package: str, target: Package, digest: str) -> Version:
    version = target.versions.get(digest)
    if version is None:
        raise not_found(_version_name(segments, package, digest))
    return version


def _version_view(
    segments: JsonObject, package: str, target: Package, version: Version, is_full: bool
) -> JsonBody:
    """Return a version as JSON. is_full: whether it has its tags, at most 100 (types)."""
    name = _version_name(segments, package, version.digest)
    view: JsonBody = {"name": name, **_times(version.created, version.updated)}
    tags = target.tags_of(version.digest)[:MAX_RELATED_TAGS]
    if is_full and tags:
        view["relatedTags"] = [_tag_view(segments, package, target, tag) for tag in tags]
    return view


def _tag_view(segments: JsonObject, package: str, target: Package, tag: str) -> JsonBody:
    return {
        "name": _tag_name(segments, package, tag),
        "version": _version_name(segments, package, target.tags[tag]),
    }


def _tag_target(request: Request, segments: JsonObject, package: str, target: Package) -> str:
    """Return the digest in the `version` of the Tag in a request."""
    body = json_body(request)
    check_fields(body, ("name", "version"))
    name = body.get("version")
    prefix = _version_name(segments, package, "")
    if not isinstance(name, str) or not name.startswith(prefix):
        raise invalid("The version of a tag must be a version of its package.", "tag.version")
    digest = name.removeprefix(prefix)
    _version(segments, package, target, digest)
    return digest


def _filtered(views: Sequence[JsonBody], text: str) -> list[JsonBody]:
    """Return the tags that fit a filter: `name="…"` or `version="…"`, with `*` (types)."""
    if not text:
        return list(views)
    field, _, value = text.partition("=")
    if field not in ("name", "version") or len(value) < 2 or value[0] + value[-1] != '""':
        raise invalid(f"Invalid filter: {text}", "filter")
    # "Filter rules are case insensitive."
    pattern = value[1:-1].lower().replace("[", "[[]")
    return [view for view in views if fnmatchcase(view[field].lower(), pattern)]


def _times(created: float, updated: float) -> JsonBody:
    return {"createTime": format_time(created), "updateTime": format_time(updated)}


def _repository_name(segments: JsonObject) -> str:
    parent = f"projects/{segments['project']}/locations/{segments.get('location', '-')}"
    return f"{parent}/repositories/{segments['repository']}"


def _package_name(segments: JsonObject, package: str) -> str:
    return f"{_repository_name(segments)}/packages/{package}"


def _tag_name(segments: JsonObject, package: str, tag: str) -> str:
    return f"{_package_name(segments, package)}/tags/{tag}"


def _version_name(segments: JsonObject, package: str, digest: str) -> str:
    return f"{_package_name(segments, package)}/versions/sha256:{digest}"
