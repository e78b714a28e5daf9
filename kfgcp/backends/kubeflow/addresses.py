"""Find the services of a host whose address has a path, such as `https://HOST/pipeline`.

A service may be below the path or at the root of the host:

- The UI server has its routes `/k8s/pod/logs` and `/artifacts/get` below its path and at its root
  (frontend/server/app.ts). With STREAM_LOGS_FROM_SERVER_API, it has `/k8s/pod/logs` at its root
  only.
- The gateway of a whole Kubeflow sends requests to the UI server only below `/pipeline`
  (manifests/kustomize/base/installs/multi-user/virtual-service.yaml).
- ML Metadata (`/ml_metadata.MetadataStoreService/...`) is at the root of the UI server and of the
  gateway.
- Another proxy may have all services below one path.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from kfgcp.backends.kubeflow.server_errors import says_pod_is_gone
from kfgcp.errors import BackendError, NotFound, Refused
from kfgcp.services.client import ServiceClient
from kfgcp.services.responses import is_page
from kfgcp.services.service_response import ServiceResponse

Answer = TypeVar("Answer")

# The statuses of a server that does not have a route.
_NO_ROUTE: Final = (404, 405)


class Addresses:
    """A service that may be at one of two addresses.

    After one address has answered, all further requests go to this address.

    Args:
        first: the client for the address that is tried first.
        second: the client for the other address, None when there is only one address. It is tried
            when the first address does not have the route, or when a gateway answers with a page or
            a redirect, for example to sign in.
    """

    def __init__(self, first: ServiceClient, second: ServiceClient | None = None) -> None:
        self._first = first
        self._second = second
        self._answering: ServiceClient | None = first if second is None else None

    def exchange(self, method: str, path: str, **options: Any) -> ServiceResponse:
        """Return the answer of status 2xx; see `ServiceClient.exchange`.

        Until one address has answered, a web page counts as no answer.
        """
        return self._try_addresses(
            lambda client: client.exchange(method, path, **options),
            lambda answer: not is_page(answer.response),
        )

    def stream(self, path: str, **options: Any) -> Generator[bytes]:
        """Return the answer to a GET piece by piece; see `ServiceClient.stream`."""
        return self._try_addresses(
            lambda client: client.stream(path, **options), lambda chunks: True
        )

    def _try_addresses(
        self, send: Callable[[ServiceClient], Answer], is_answer: Callable[[Answer], bool]
    ) -> Answer:
        """Return the answer of the address that has the service.

        Args:
            send: sends the request with a client.
            is_answer: returns whether an answer comes from the service itself.
        """
        if self._answering is not None or self._second is None:
            return send(self._answering or self._first)
        first_answer: Answer | None = None
        first_error: BackendError | None = None
        try:
            first_answer = send(self._first)
        except BackendError as error:
            if not _is_elsewhere(error):
                raise
            first_error = error
        if first_answer is not None and is_answer(first_answer):
            self._answering = self._first
            return first_answer
        second_answer: Answer | None = None
        # The service is more likely at the first address. So when neither address has the service,
        # the caller gets the error of the first address.
        with suppress(BackendError):
            second_answer = send(self._second)
        if second_answer is not None and is_answer(second_answer):
            self._answering = self._second
            return second_answer
        if first_error is not None:
            raise first_error
        assert first_answer is not None
        return first_answer


def metadata_addresses(host: str, make_client: Callable[[str], ServiceClient]) -> Addresses:
    """Return the addresses of ML Metadata: first the root of the host, then the whole address.

    Args:
        host: the address of an environment.
        make_client: returns a client for an address.
    """
    root = remove_path(host)
    if root == host:
        return Addresses(make_client(host))
    return Addresses(make_client(root), make_client(host))


def ui_addresses(host: str, make_client: Callable[[str], ServiceClient]) -> Addresses:
    """Return the addresses of the UI server: first the whole address, then the root of the host.

    Args:
        host: the address of an environment.
        make_client: returns a client for an address.
    """
    root = remove_path(host)
    if root == host:
        return Addresses(make_client(host))
    return Addresses(make_client(host), make_client(root))


def remove_path(host: str) -> str:
    """Return an address without its path.

    Example:
        >>> remove_path("https://kfp.acme.example/pipeline")
        'https://kfp.acme.example'
    """
    parts = urlsplit(host)
    return f"{parts.scheme}://{parts.netloc}" if parts.path.strip("/") else host


def _is_elsewhere(error: BackendError) -> bool:
    """Return whether an error means that the service is not at this address.

    An error of the service itself says that the service is at this address but does not have the
    requested object.
    """
    if error.is_of_gateway:
        return True
    if isinstance(error, NotFound) and says_pod_is_gone(error.message):
        return False
    return isinstance(error, Refused) and error.status in _NO_ROUTE
