"""What the tests of services share."""

from service_fixtures import (  # noqa: F401
    another_server,
    client,
    clock,
    id_token,
    key_file,
    kubectl,
    metadata,
    nobody,
    private_key,
    reply,
    secret,
    server,
    sign_in,
    tokens,
)
