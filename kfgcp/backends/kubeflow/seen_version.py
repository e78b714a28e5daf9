"""Remember the version of a server, so that `kfgcp check` needs no request.

The version is the one that kfgcp read last. The server may have been upgraded since.
"""

from __future__ import annotations

from typing import Final

from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.service import ServiceRecords
from kfgcp.config import Environment
from kfgcp.rules.versions import Version, format_version, parse_version

# The kind of the record, and its only id.
_KIND: Final = "server version"
_ID: Final = "version"


def remember_version(records: ServiceRecords, place: str, version: Version) -> None:
    """Remember the version of the server at a place. Write nothing when it is already there."""
    text = format_version(version)
    if records.names(place, _KIND).get(_ID) != text:
        records.remember_names(place, _KIND, {_ID: text})


def seen_version(env: Environment, records: ServiceRecords) -> Version | None:
    """Return the version of an environment's server that was read last, None when none was read.

    Args:
        env: the environment.
        records: what the service keeps from one command to the next.
    """
    place = KubeflowSettings.of(env.settings).place
    return parse_version(records.names(place, _KIND).get(_ID))
