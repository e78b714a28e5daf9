"""The official client, for what kfgcp cannot do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.deadlines import REQUEST_SECONDS, DeadlineError, call_within
from kfgcp.errors import BackendError, NotFound, Unreachable
from kfgcp.services.auth.tokens import TokenSource
from kfgcp.services.redact import redacted_line

if TYPE_CHECKING:
    from kfp.client.client import RunPipelineResult
    from kfp_server_api import Configuration

# What `kfp.Client` takes for no namespace.
NO_NAMESPACE: Final = "kubeflow"

# What the client raises when an answer does not have the form that it expects: it does not check
# answers.
UNREADABLE: Final = (ValueError, TypeError, AttributeError, LookupError)
_NOT_FOUND: Final = 404


def pipeline_run(
    host: str,
    tokens: TokenSource,
    namespace: str,
    ca_file: str | None,
    run_id: str,
    seconds: float = REQUEST_SECONDS,
) -> RunPipelineResult:
    """Return a run as `kfp.Client` does: its `run_info` is the `V2beta1Run` of kfp_server_api.

    Args:
        host: the address of the server.
        tokens: sign the requests of the client in.
        namespace: of the run, empty when none is set.
        ca_file: the certificates that are trusted, None for the usual ones.
        run_id: the server's id of the run.
        seconds: how long the client may take.

    Raises:
        NotFound: the run was deleted.
        BackendError: the client failed in another way.
    """
    # The import takes longer than some time limits, so it is not a part of the call.
    from kfp.client import client as kfp_client

    # Without a token, `kfp.Client` signs in by itself for some hosts, and as its environment
    # variables say.
    token = tokens.get()

    def read_run() -> RunPipelineResult:
        with warnings.catch_warnings():
            # It warns that it does not support servers before 2.0.
            warnings.simplefilter("ignore", FutureWarning)
            client = kfp_client.Client(
                host=host,
                namespace=namespace or NO_NAMESPACE,
                existing_token=token.value if token is not None else None,
                ssl_ca_cert=ca_file,
            )

        # Tokens last an hour, so the client takes the newest one for each request.
        def renew(configuration: Configuration) -> None:
            newest = tokens.get()
            if newest is not None:
                configuration.api_key["authorization"] = newest.value

        client._existing_config.refresh_api_key_hook = renew
        return kfp_client.RunPipelineResult(client, client.get_run(run_id))

    # The header with the token may be in the message of an error.
    secrets = [token.value] if token is not None else []
    with _our_errors(run_id, secrets, seconds):
        return call_within(seconds, read_run)


@contextmanager
def _our_errors(run_id: str, secrets: Sequence[str], seconds: float) -> Iterator[None]:
    """Turn the errors of the client into ours."""
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    try:
        yield
    except DeadlineError:
        raise Unreachable(
            f"{SERVICE} did not answer its client within {seconds:g} s.",
            hint=(
                "Check the connection to the network. request_seconds of the environment gives"
                " requests more time."
            ),
        ) from None
    except kfp_server_api.ApiException as error:
        if error.status == _NOT_FOUND:
            raise NotFound(
                f"{SERVICE} has no run {run_id} any more.",
                hint="See what was recorded: kfgcp list",
                status=_NOT_FOUND,
                reason="NOT_FOUND",
            ) from None
        reason = redacted_line(error.reason or "")
        raise BackendError(f"The client of {SERVICE} failed: {error.status} {reason}") from None
    except (
        OSError,
        RuntimeError,
        HTTPError,
        kfp_server_api.OpenApiException,
        *UNREADABLE,
    ) as error:
        problem = redacted_line(str(error), *secrets)
        raise BackendError(f"The client of {SERVICE} failed: {problem}") from None
