"""The Google credentials of this machine, found within seconds also without a network."""

from __future__ import annotations

from typing import Any, Final

# How long Google's metadata server may take to answer. Machines at Google get their tokens from it.
METADATA_SECONDS: Final = 2.0


def google_credentials() -> tuple[Any, str | None]:
    """Return the Google credentials of this machine and their project.

    Both are None when there are no credentials.
    """
    # google.auth sends three requests to the metadata server, with growing pauses. It needs up to
    # 13 s when nothing answers at that address. So all requests after a failed one fail at once.
    import google.auth
    import requests
    from google.auth.exceptions import DefaultCredentialsError, TransportError
    from google.auth.transport.requests import Request

    from kfgcp.sockets import mount_deadlines

    class FailFastRequest(Request):
        """A transport that sends requests until one fails, and then repeats that error."""

        failure: Exception | None = None

        def __call__(
            self,
            url: str,
            method: str = "GET",
            body: Any = None,
            headers: Any = None,
            timeout: Any = None,
            **options: Any,
        ) -> Any:
            if self.failure is not None:
                raise self.failure
            send: Any = super().__call__
            try:
                return send(url, method, body, headers, METADATA_SECONDS, **options)
            except TransportError as error:
                self.failure = error
                raise

    session = requests.Session()
    mount_deadlines(session)
    try:
        credentials, project = google.auth.default(request=FailFastRequest(session))
    except DefaultCredentialsError:
        return None, None
    return credentials, project
