"""How long names and parameters may be. Longer ones are refused before a run is created.

The server answers 500 to an experiment that it cannot take. When the row of a run does not fit into
the database, the run was started already: it runs, and nobody sees it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from kfgcp.backends.kubeflow.features import format_version
from kfgcp.backends.kubeflow.server_version import Server
from kfgcp.errors import Unsupported, UsageError

# Bytes of the name of an experiment, since 2.15 (recorded: experiment-create-long-name.json).
MAX_NAME_BYTES: Final = 128

# Characters of the name of an experiment before 2.15: the length of the column.
MAX_NAME_CHARACTERS: Final = 255

# The driver of the pipeline gets all parameters as one argument of a command. Linux allows 131,071
# bytes (MAX_ARG_STRLEN), and there is more than the parameters in the argument.
MAX_PARAMETER_BYTES: Final = 120_000

# Bytes of parameters before 2.15: a column of MySQL's type TEXT.
SMALL_COLUMN: Final = 65_535

# The first release whose column for parameters is larger. Since then names of experiments are
# limited in bytes.
LARGE_COLUMNS: Final = (2, 15)

# Characters that Go writes as `\u003c` and so on, and how many bytes that is more than in UTF-8.
# Both the argument of the driver (stablyMarshalJSON in v2/compiler/argocompiler/proto.go) and the
# column (toModelParameters in apiserver/server/api_converter.go) are written by json.Marshal, which
# escapes them.
EXTRA_BYTES_IN_GO: Final = {"<": 5, ">": 5, "&": 5, "\u2028": 3, "\u2029": 3}

# How many parameters a message names.
MAX_SHOWN: Final = 3


def check_experiment_name(name: str, server: Server) -> None:
    """Check that an experiment can have a name.

    The version of the server is read only when it makes a difference.

    Raises:
        Unsupported: the name is empty or too long.
    """
    if not name:
        raise Unsupported(
            "An experiment of Kubeflow Pipelines needs a name.",
            hint="Choose one: --experiment NAME",
        )
    size = len(name.encode())
    if size <= MAX_NAME_BYTES:
        return
    version = server.version
    if version is None or version >= LARGE_COLUMNS:
        problem = f"{size} bytes; Kubeflow Pipelines takes at most {MAX_NAME_BYTES}"
    elif len(name) > MAX_NAME_CHARACTERS:
        problem = (
            f"{len(name)} characters; Kubeflow Pipelines {format_version(version)} takes at most"
            f" {MAX_NAME_CHARACTERS}"
        )
    else:
        return
    raise Unsupported(
        f"The name of the experiment has {problem}.", hint="Choose a shorter --experiment."
    )


def check_parameters(params: Mapping[str, Any], server: Server) -> None:
    """Check how long the parameters of a run are together.

    The version of the server is read only when it makes a difference.

    Raises:
        UsageError: they are too long; the message names the longest ones.
    """
    size = _json_bytes(params)
    if size <= SMALL_COLUMN:
        return
    version = server.version
    limit = MAX_PARAMETER_BYTES
    release = ""
    if version is not None and version < LARGE_COLUMNS:
        limit = SMALL_COLUMN
        release = f" {format_version(version)}"
    if size <= limit:
        return
    raise UsageError(
        f"The parameters take {size:,} bytes ({_longest(params)}); "
        f"Kubeflow Pipelines{release} takes at most {limit:,}.",
        hint="Put large values into a file in a bucket, and pass its address.",
    )


def _longest(params: Mapping[str, Any]) -> str:
    """Return the longest parameters with the lengths of their values."""
    sizes = {name: _json_bytes(value) for name, value in params.items()}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    shown = [f"{name}: {sizes[name]:,}" for name in names[:MAX_SHOWN]]
    if len(names) > MAX_SHOWN:
        shown.append("…")
    return ", ".join(shown)


def _json_bytes(value: object) -> int:
    """Return the length of a value as the server passes it on and keeps it.

    That is compact JSON in UTF-8, written by Go.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    for character, extra_bytes in EXTRA_BYTES_IN_GO.items():
        size += text.count(character) * extra_bytes
    return size
