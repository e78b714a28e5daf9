"""The official client, for what kfgcp cannot do."""

from __future__ import annotations

import warnings
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
    import kfp_server_api
    from kfp.client import client as kfp_client
    from urllib3.exceptions import HTTPError

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

    try:
        return call_within(seconds, read_run)
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
        # The message of the client may contain the header with the token.
        secrets = [token.value] if token is not None else []
        problem = redacted_line(str(error), *secrets)
        raise BackendError(f"The client of {SERVICE} failed: {problem}") from None
