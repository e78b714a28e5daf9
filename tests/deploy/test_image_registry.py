"""Tags of images in a registry: the registry server of Docker, and servers that answer wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hostile_http import Connection, hostile_server
from kfgcp.errors import (
    AuthError,
    BackendError,
    BadAnswer,
    NotFound,
    Refused,
    Unreachable,
    Unsupported,
)
from kfgcp.services.image_registry import ImageRegistry
from patience import REQUEST
from registry_images import (
    DOCKER,
    OCI,
    digest_of,
    push_image,
    push_index,
    read_manifest,
    tags_of,
)
from service_fixtures import SECRET, Reply, Server, Tokens, running

TAG = "use-daily-820c32"
GOOGLE = "europe-west4-docker.pkg.dev/acme-ml/images"
GOOGLE_PATH = f"/v2/acme-ml/images/shop/manifests/{TAG}"
# The user ann with the password pw, as `htpasswd -B` writes it.
USERS = "ann:$2b$04$MVA7QQHsHCzCuTK6pcP2zepdjH3ugyOxNT2DVKxII5J9.W93cozHK\n"
MANIFEST = b'{"schemaVersion": 2}'
DIGEST = digest_of(MANIFEST)
OTHER_DIGEST = "sha256:" + "0" * 64
MANIFEST_REPLY = Reply(MANIFEST, headers={"Content-Type": f"{OCI}.manifest.v1+json"})

Push = Callable[[str, str, str], str]


def open_registry(address: str, seconds: float = REQUEST) -> ImageRegistry:
    return ImageRegistry(address, Tokens(), seconds=seconds)


def address_of(server: Server) -> str:
    return server.url.removeprefix("http://") + "/acme"


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as started:
        yield started
    assert started.unexpected == []
    assert started.left == 0, "replies that nobody asked for"


@pytest.fixture
def google(server: Server) -> ImageRegistry:
    """A repository of Artifact Registry, whose requests go to `server`."""
    return ImageRegistry(GOOGLE, Tokens(), seconds=REQUEST, endpoint=server.url)


# -- the registry server of Docker


@pytest.mark.parametrize(
    ("push", "media_type"),
    [
        (push_image, f"{OCI}.manifest.v1+json"),
        (push_image, f"{DOCKER}.v2+json"),
        (push_index, f"{OCI}.index.v1+json"),
        (push_index, f"{DOCKER}.list.v2+json"),
    ],
)
def test_a_tag_is_set_and_moved_without_a_change_of_the_manifest(
    start_registry: Callable[..., str], push: Push, media_type: str
) -> None:
    address = start_registry()
    image = f"{address}/shop"
    first, second = push(image, "first", media_type), push(image, "second", media_type)
    before = read_manifest(image, first)
    registry = open_registry(address)
    assert registry.read_tag(image, TAG) is None

    registry.set_tag(image, first, TAG)
    assert read_manifest(image, TAG) == before
    assert before.media_type == media_type
    assert registry.read_tag(image, TAG) == first

    registry.set_tag(image, second, TAG)
    assert registry.read_tag(image, TAG) == second
    assert tags_of(image) == {TAG: second}


def test_a_registry_that_cannot_delete_tags_keeps_the_tag(
    start_registry: Callable[..., str],
) -> None:
    address = start_registry()
    image = f"{address}/shop"
    digest = push_image(image, "first")
    registry = open_registry(address)
    registry.set_tag(image, digest, TAG)

    assert registry.delete_tag(image, TAG) is False

    assert tags_of(image) == {TAG: digest}
    assert not registry.deletes_tags


def test_a_digest_that_the_registry_does_not_have_is_an_error(
    start_registry: Callable[..., str],
) -> None:
    address = start_registry()
    image = f"{address}/shop"
    push_image(image, "first")

    with pytest.raises(NotFound, match="manifest unknown"):
        open_registry(address).set_tag(image, OTHER_DIGEST, TAG)

    assert tags_of(image) == {}


def test_a_registry_that_needs_a_sign_in_says_so(start_registry: Callable[..., str]) -> None:
    address = start_registry(users=USERS)

    with pytest.raises(AuthError) as caught:
        open_registry(address).read_tag(f"{address}/shop", TAG)

    assert caught.value.message == f"{address.partition('/')[0]} did not accept the sign-in."
    assert "Artifact Registry" in caught.value.hint


def test_a_registry_that_takes_no_writes_refuses_a_tag(start_registry: Callable[..., str]) -> None:
    address = start_registry(readonly=True)

    with pytest.raises(BackendError):
        open_registry(address).set_tag(f"{address}/shop", OTHER_DIGEST, TAG)


# -- answers that are wrong


@pytest.mark.parametrize(
    "reply",
    [
        Reply(MANIFEST + b" ", headers={"Content-Type": f"{OCI}.manifest.v1+json"}),
        Reply(MANIFEST, headers={"Content-Type": f"{DOCKER}.v1+prettyjws"}),
    ],
)
def test_another_manifest_than_that_of_the_digest_is_never_written(
    server: Server, reply: Reply
) -> None:
    server.answers(reply)
    address = address_of(server)

    with pytest.raises(BadAnswer, match="with another manifest"):
        open_registry(address).set_tag(f"{address}/shop", DIGEST, TAG)

    assert [request.method for request in server.asked] == ["GET"]


def test_a_tag_that_points_elsewhere_after_the_write_is_an_error(server: Server) -> None:
    written = Reply(status=201, headers={"Docker-Content-Digest": OTHER_DIGEST})
    server.answers(MANIFEST_REPLY, written)
    address = address_of(server)

    with pytest.raises(BadAnswer, match=f"point to {OTHER_DIGEST}, not to {DIGEST}"):
        open_registry(address).set_tag(f"{address}/shop", DIGEST, TAG)


@pytest.mark.parametrize("status", [401, 403, 405])
def test_a_registry_that_is_open_only_for_reads_takes_no_tags(server: Server, status: int) -> None:
    server.answers(MANIFEST_REPLY, Reply(status=status), Reply(status=status))
    address = address_of(server)
    registry = open_registry(address)

    assert registry.set_tag(f"{address}/shop", DIGEST, TAG) is False
    assert registry.delete_tag(f"{address}/shop", TAG) is False


def test_a_refused_manifest_is_an_error(server: Server) -> None:
    invalid = {"errors": [{"code": "MANIFEST_INVALID", "message": "manifest invalid"}]}
    server.answers(MANIFEST_REPLY, Reply(invalid, status=400))
    address = address_of(server)

    with pytest.raises(Refused, match="manifest invalid"):
        open_registry(address).set_tag(f"{address}/shop", DIGEST, TAG)


@pytest.mark.parametrize("status", [401, 403])
def test_artifact_registry_without_a_role_is_an_error(
    server: Server, google: ImageRegistry, status: int
) -> None:
    server.answers(MANIFEST_REPLY, Reply(status=status))

    with pytest.raises(BackendError):
        google.set_tag(f"{GOOGLE}/shop", DIGEST, TAG)


def test_a_write_without_a_digest_in_its_answer_is_read_again(server: Server) -> None:
    server.answers(
        MANIFEST_REPLY, Reply(status=201), Reply(headers={"Docker-Content-Digest": DIGEST})
    )
    address = address_of(server)

    open_registry(address).set_tag(f"{address}/shop", DIGEST, TAG)

    assert [request.method for request in server.asked] == ["GET", "PUT", "HEAD"]
    assert server.asked[1].body == MANIFEST
    assert server.asked[1].headers["content-type"] == f"{OCI}.manifest.v1+json"


def test_an_answer_without_a_digest_is_an_error(server: Server) -> None:
    server.answers(Reply())
    address = address_of(server)

    with pytest.raises(BadAnswer, match="without a digest"):
        open_registry(address).read_tag(f"{address}/shop", TAG)


def test_a_slow_manifest_ends_at_the_deadline() -> None:
    def trickle(connection: Connection) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {OCI}.manifest.v1+json\r\n"
        connection.send(f"{head}Content-Length: 100000\r\n\r\n".encode())
        connection.trickle(b"x" * 100_000)

    with hostile_server(trickle) as slow:
        address = f"127.0.0.1:{slow.port}/acme"
        with pytest.raises(Unreachable, match="did not send a whole answer within 1 s"):
            open_registry(address, seconds=1.0).set_tag(f"{address}/shop", DIGEST, TAG)


# -- credentials


def test_only_artifact_registry_gets_the_token(server: Server, google: ImageRegistry) -> None:
    tag_reply = Reply(headers={"Docker-Content-Digest": DIGEST})
    server.answers(tag_reply, tag_reply)
    address = address_of(server)

    assert google.read_tag(f"{GOOGLE}/shop", TAG) == DIGEST
    assert open_registry(address).read_tag(f"{address}/shop", TAG) == DIGEST

    of_google, of_other = server.asked
    assert (of_google.path, of_google.method) == (GOOGLE_PATH, "HEAD")
    assert of_google.headers["authorization"] == f"Bearer {SECRET}"
    assert "authorization" not in of_other.headers


@pytest.mark.parametrize(
    "address",
    [
        "europe-west4-docker.pkg.dev.example/acme-ml/images",
        "europe-west4-docker.pkg.dev:8443/acme-ml/images",
        "evil.example/europe-west4-docker.pkg.dev/acme-ml/images",
        "europe-west4-docker.pkg.dev",
    ],
)
def test_a_similar_address_is_not_artifact_registry(address: str) -> None:
    assert not open_registry(address).deletes_tags
    assert open_registry(GOOGLE).deletes_tags


def test_a_token_never_follows_a_redirect(server: Server, google: ImageRegistry) -> None:
    with running() as elsewhere:
        location = {"Location": f"{elsewhere.url}{GOOGLE_PATH}"}
        for method in ("read_tag", "delete_tag"):
            server.answers(Reply(status=307, headers=location))
            with pytest.raises(Unreachable):
                getattr(google, method)(f"{GOOGLE}/shop", TAG)

    assert elsewhere.asked == []


# -- Artifact Registry


def test_a_repository_with_immutable_tags_is_not_for_tags_of_schedules(
    server: Server, google: ImageRegistry
) -> None:
    server.answers(
        {"format": "DOCKER"},
        {"format": "DOCKER", "dockerConfig": {"immutableTags": True}},
    )

    google.check()
    with pytest.raises(Unsupported) as caught:
        google.check()

    assert caught.value.message == f"The tags of {GOOGLE} are immutable."
    path = "/v1/projects/acme-ml/locations/europe-west4/repositories/images"
    assert {request.path for request in server.asked} == {path}


@pytest.mark.parametrize(("status", "is_deleted"), [(202, True), (404, True), (400, False)])
def test_a_tag_is_deleted_by_its_name(
    server: Server, google: ImageRegistry, status: int, is_deleted: bool
) -> None:
    server.answers(Reply({"errors": []} if status >= 400 else b"", status=status))

    assert google.delete_tag(f"{GOOGLE}/shop", TAG) is is_deleted

    assert [(request.method, request.path) for request in server.asked] == [("DELETE", GOOGLE_PATH)]


def test_a_missing_role_is_named_with_the_command(server: Server, google: ImageRegistry) -> None:
    denied = {"errors": [{"code": "DENIED", "message": "Permission denied on shop"}]}
    server.answers(Reply(denied, status=403))

    with pytest.raises(Refused) as caught:
        google.delete_tag(f"{GOOGLE}/shop", TAG)

    assert "Permission denied on shop (403" in caught.value.message
    assert "add-iam-policy-binding images --location=europe-west4" in caught.value.hint
    assert "--role=roles/artifactregistry.repoAdmin" in caught.value.hint


def test_docker_hub_is_refused_before_any_request() -> None:
    with pytest.raises(Unsupported, match="acme/images is on Docker Hub"):
        open_registry("acme/images").check()


def test_an_image_of_another_registry_is_never_touched() -> None:
    with pytest.raises(ValueError, match="is not in"):
        open_registry(GOOGLE).delete_tag("europe-west4-docker.pkg.dev/acme-ml/images-2/shop", TAG)
