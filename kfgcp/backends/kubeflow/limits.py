"""Refuse names and parameters that are too long for the server, before a run is created.

The server answers with status 500 when the name of an experiment is too long. When the parameters
of a run do not fit into the database, the server has already started the run. Then the run executes
but is not in any list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kfgcp.errors import Unsupported, UsageError
from kfgcp.rules.versions import format_version

if TYPE_CHECKING:
    from kfgcp.backends.kubeflow.server_version import Server

# The schema of PipelineSpecs that the service accepts.
SCHEMA: Final = "2.1.0"

# The longest name of a run, in characters: the length of the column in `run_details`.
MAX_RUN_NAME: Final = 255

# The longest argument of a program on Linux, in bytes without the final NUL (MAX_ARG_STRLEN).
MAX_ARGUMENT_BYTES: Final = 131_071

# The deepest nesting of messages that protobuf reads in C++
# (`CodedInputStream::SetRecursionLimit`).
_MAX_NESTED_MESSAGES: Final = 100

# A parameter is inside five messages of a request to ML Metadata: Execution, an entry of its
# custom_properties, ml_metadata.Value, Struct, and an entry of the Struct.
_MESSAGES_AROUND_A_VALUE: Final = 5

# The longest name of an experiment since 2.15, in bytes (recorded:
# experiment-create-long-name.json).
MAX_NAME_BYTES: Final = 128

# The longest name of an experiment before 2.15, in characters: the length of the column.
MAX_NAME_CHARACTERS: Final = 255

# The longest parameters of a run, in bytes. The driver of the pipeline gets all parameters in one
# argument of a command. Linux allows 131,071 bytes for an argument (MAX_ARG_STRLEN), and the
# argument contains more than the parameters.
MAX_PARAMETER_BYTES: Final = 120_000

# The longest parameters of a run before 2.15, in bytes: a column of MySQL's type TEXT.
SMALL_COLUMN: Final = 65_535

# The first release with a larger column for parameters. Since this release, the limit for names of
# experiments is in bytes.
LARGE_COLUMNS: Final = (2, 15)

# The characters that Go writes with an escape such as `\u003c`, and how many bytes longer the
# escape is than the character in UTF-8. The server uses json.Marshal, which escapes these
# characters, for the argument of the driver (stablyMarshalJSON in
# v2/compiler/argocompiler/proto.go) and for the column (toModelParameters in
# apiserver/server/api_converter.go).
EXTRA_BYTES_IN_GO: Final = {"<": 5, ">": 5, "&": 5, "\u2028": 3, "\u2029": 3}

# How many parameters a message names at most.
MAX_SHOWN: Final = 3


def check_experiment_name(name: str, server: Server) -> None:
    """Check that the server accepts the name of an experiment.

    The version of the server is read only when the result depends on it.

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
    """Check that the parameters of a run are not too long in total.

    The version of the server is read only when the result depends on it.

    Raises:
        UsageError: the parameters are too long. The message names the longest parameters.
    """
    size = json_bytes(params)
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
        f"The parameters take {size:,} bytes ({_format_longest(params)}); "
        f"Kubeflow Pipelines{release} takes at most {limit:,}.",
        hint="Put large values into a file in a bucket, and pass its address.",
    )


def is_too_deep(value: object) -> bool:
    """Return whether a value is nested too deeply for ML Metadata.

    The driver writes the parameters into an execution. ML Metadata is a C++ program, so the
    documented limit of protobuf applies. A run beyond the limit was not recorded.
    """
    return _MESSAGES_AROUND_A_VALUE + _nested_messages(value) > _MAX_NESTED_MESSAGES


def _nested_messages(value: object) -> int:
    """Return how deep messages nest in a google.protobuf.Value of a JSON value, itself included."""
    if isinstance(value, Mapping):
        if not value:
            return 1
        # The Value, its Struct, and the entry of the map in the Struct.
        return 3 + max(_nested_messages(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        # The Value and its ListValue.
        return 2 + max((_nested_messages(item) for item in value), default=0)
    return 1


def json_bytes(value: object) -> int:
    """Return the length of a value on the server, which uses compact JSON in UTF-8 from Go."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    for character, extra_bytes in EXTRA_BYTES_IN_GO.items():
        size += text.count(character) * extra_bytes
    return size


def _format_longest(params: Mapping[str, Any]) -> str:
    """Return the names of the longest parameters, each with the length of its value."""
    sizes = {name: json_bytes(value) for name, value in params.items()}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    shown = [f"{name}: {sizes[name]:,}" for name in names[:MAX_SHOWN]]
    if len(names) > MAX_SHOWN:
        shown.append("…")
    return ", ".join(shown)
