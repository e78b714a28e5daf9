"""Find the Google credentials of this machine for Cloud Storage within seconds."""

from __future__ import annotations

from typing import Any, Final

# How long Google's metadata server may take to answer. Machines at Google get their tokens from it.
METADATA_SECONDS: Final = 2.0


def google_credentials() -> tuple[Any, str | None]:
    """Return the Google credentials of this machine and their project.

    Both are None when this machine has no credentials.
    """
    # google.auth sends three requests to the metadata server, with growing pauses. Without an
    # answer this takes up to 13 s. So after a failed request, all later requests fail at once.
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, TransportError
    from google.auth.transport import Request

    from kfgcp.services.auth.google import auth_request

    send = auth_request()

    class FailFastRequest(Request):
        """A transport of google.auth that sends requests until one fails, then sends no more."""

        failure: TransportError | None = None

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
            try:
                return send(url, method, body, headers, METADATA_SECONDS, **options)
            except TransportError as error:
                self.failure = error
                raise

    try:
        credentials, project = google.auth.default(request=FailFastRequest())
    except DefaultCredentialsError:
        return None, None
    return credentials, project
