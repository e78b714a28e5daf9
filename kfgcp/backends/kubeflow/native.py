"""Return runs as objects of the official client, for uses that kfgcp does not support."""

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

# The value of `namespace` that `kfp.Client` treats as no namespace.
NO_NAMESPACE: Final = "kubeflow"

# The client does not check answers. It raises these errors for an answer of an unexpected form.
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
    """Return a run as `kfp.Client` does. Its `run_info` is the `V2beta1Run` of kfp_server_api.

    Args:
        host: the address of the server.
        tokens: sign the requests of the client in.
        namespace: the namespace of the run, "" when none is set.
        ca_file: a file with the certificates of the trusted authorities, None for the default
            authorities.
        run_id: the server's id of the run.
        seconds: the time limit of the client.

    Raises:
        NotFound: the run was deleted.
        BackendError: the client failed for another reason.
    """
    # The import may take longer than the time limit, so it happens before the limited call.
    from kfp.client import client as kfp_client

    # Without a token, `kfp.Client` signs in itself for some hosts, or if its environment variables
    # are set. kfgcp always signs in itself.
    token = tokens.get()

    def read_run() -> RunPipelineResult:
        with warnings.catch_warnings():
            # The client warns that it does not support servers before 2.0.
            warnings.simplefilter("ignore", FutureWarning)
            client = kfp_client.Client(
                host=host,
                namespace=namespace or NO_NAMESPACE,
                existing_token=token.value if token is not None else None,
                ssl_ca_cert=ca_file,
            )

        # A token is valid for an hour, so the client gets the newest token for each request.
        def renew_token(configuration: Configuration) -> None:
            newest = tokens.get()
            if newest is not None:
                configuration.api_key["authorization"] = newest.value

        client._existing_config.refresh_api_key_hook = renew_token
        return kfp_client.RunPipelineResult(client, client.get_run(run_id))

    # The message of an error may contain the header with the token.
    secrets = [token.value] if token is not None else []
    with _convert_errors(run_id, secrets, seconds):
        return call_within(seconds, read_run)


@contextmanager
def _convert_errors(run_id: str, secrets: Sequence[str], seconds: float) -> Iterator[None]:
    """Convert the errors of the client to errors of `kfgcp.errors`."""
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    try:
        yield
    except DeadlineError:
        raise Unreachable(
            f"{SERVICE} did not answer the client of kfp within {seconds:g} s.",
            hint=(
                "Check your network connection. To give requests more time, set request_seconds"
                " in [env.NAME] of kfgcp.toml."
            ),
        ) from None
    except kfp_server_api.ApiException as error:
        if error.status == _NOT_FOUND:
            raise NotFound(
                f"{SERVICE} has no run {run_id} any more.",
                hint="See the recorded runs: kfgcp list",
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
