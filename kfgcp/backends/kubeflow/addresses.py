"""Where the services of a host are when its address has a path: `https://HOST/pipeline`.

The UI server has its routes `/k8s/pod/logs` and `/artifacts/get` below its path and at its root
(frontend/server/app.ts). The gateway of a whole Kubeflow sends it only what is below `/pipeline`
(manifests/kustomize/base/installs/multi-user/virtual-service.yaml). With
STREAM_LOGS_FROM_SERVER_API the UI server has `/k8s/pod/logs` at its root only. ML Metadata
(`/ml_metadata.MetadataStoreService/...`) has no path: the UI server and the gateway have it at the
root. Other proxies may have everything below one path.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from kfgcp.backends.kubeflow.server_errors import is_without_pod
from kfgcp.errors import BackendError, NotFound, Refused
from kfgcp.services.client import ServiceClient
from kfgcp.services.responses import is_page
from kfgcp.services.service_response import ServiceResponse

Answer = TypeVar("Answer")

_NO_ROUTE: Final = (404, 405)


class Addresses:
    """A service that may be at one of two addresses. The one that answered is used from then on.

    Args:
        first: asked first.
        second: asked when the first has no such route, or when a gateway answers there with a page
            or a redirect, such as to a sign-in; None when there is no second address.
    """

    def __init__(self, first: ServiceClient, second: ServiceClient | None = None) -> None:
        self._first = first
        self._second = second
        self._answering: ServiceClient | None = first if second is None else None

    def exchange(self, method: str, path: str, **options: Any) -> ServiceResponse:
        """Return the answer of status 2xx; see `ServiceClient.exchange`.

        Until one address has answered, a web page counts as no answer.
        """
        return self._ask(
            lambda client: client.exchange(method, path, **options),
            lambda answer: not is_page(answer.response),
        )

    def stream(self, path: str, **options: Any) -> Generator[bytes]:
        """Return the answer to a GET piece by piece; see `ServiceClient.stream`."""
        return self._ask(lambda client: client.stream(path, **options), lambda chunks: True)

    def _ask(
        self, ask: Callable[[ServiceClient], Answer], is_answer: Callable[[Answer], bool]
    ) -> Answer:
        if self._answering is not None or self._second is None:
            return ask(self._answering or self._first)
        first_answer: Answer | None = None
        refusal: BackendError | None = None
        try:
            first_answer = ask(self._first)
        except BackendError as error:
            if not _is_elsewhere(error):
                raise
            refusal = error
        if first_answer is not None and is_answer(first_answer):
            self._answering = self._first
            return first_answer
        second_answer: Answer | None = None
        # The first address is the more likely one, so its refusal says more.
        with suppress(BackendError):
            second_answer = ask(self._second)
        if second_answer is not None and is_answer(second_answer):
            self._answering = self._second
            return second_answer
        if refusal is not None:
            raise refusal
        assert first_answer is not None
        return first_answer


def metadata_addresses(host: str, client: Callable[[str], ServiceClient]) -> Addresses:
    """Return the addresses of ML Metadata: the root of the host, else below its path.

    Args:
        host: the address of an environment.
        client: makes a client for an address.
    """
    root = root_of(host)
    if root == host:
        return Addresses(client(host))
    return Addresses(client(root), client(host))


def ui_addresses(host: str, client: Callable[[str], ServiceClient]) -> Addresses:
    """Return the addresses of the UI server's own routes.

    They are below the path of the host, else at its root.

    Args:
        host: the address of an environment.
        client: makes a client for an address.
    """
    root = root_of(host)
    if root == host:
        return Addresses(client(host))
    return Addresses(client(host), client(root))


def root_of(host: str) -> str:
    """Return an address without its path.

    Example:
        >>> root_of("https://kfp.acme.example/pipeline")
        'https://kfp.acme.example'
    """
    parts = urlsplit(host)
    return f"{parts.scheme}://{parts.netloc}" if parts.path.strip("/") else host


def _is_elsewhere(error: BackendError) -> bool:
    """Return whether the service does not answer at this address.

    False when it answers that it does not have what was asked for.
    """
    if error.is_of_gateway:
        return True
    if isinstance(error, NotFound) and is_without_pod(error.message):
        return False
    return isinstance(error, Refused) and error.status in _NO_ROUTE
