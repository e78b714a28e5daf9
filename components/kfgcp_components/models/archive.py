"""Write and read the file of a fitted pipeline, in the format of skops.

The file is a ZIP archive: `schema.json` says how to build the objects, and each array is in a file
of its own. skops names arrays by addresses in memory. We name them by their content and leave out
the addresses, so that the same pipeline always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias, cast

import numpy as np
import skops.io
from sklearn.exceptions import InconsistentVersionWarning

from kfgcp_components.messages import format_names, one_line
from kfgcp_components.models.tree_arrays import Array, TreeState, check_tree
from kfgcp_components.models.trusted_types import TRUSTED, all_trusted_types

SCHEMA: Final = "schema.json"
# The content of an array decides its name.
ARRAY_NAME: Final = re.compile(r"[0-9a-f]{1,64}\.npy")

# A forest of 2,000 trees has a schema of about 25 MB. Parsed JSON takes about ten times its size.
MAX_SCHEMA_BYTES: Final = 128 * 2**20
# A small archive can contain terabytes of zeros.
MAX_ARCHIVE_BYTES: Final = 4 * 2**30

# The oldest time that a ZIP archive can store. A real time would make equal archives differ.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


@dataclass(frozen=True)
class _Archive:
    """The content of an archive, checked but not yet built."""

    schema: dict[str, Json]
    sizes: Mapping[str, int]
    file: zipfile.ZipFile


def dump_pipeline(pipeline: object) -> bytes:
    """Return the file of a fitted pipeline. Equal pipelines give equal bytes."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(pipeline))) as source:
        schema = json.loads(source.read(SCHEMA))
        names = {}
        arrays = {}
        for name in source.namelist():
            if name == SCHEMA:
                continue
            content = source.read(name)
            names[name] = f"{hashlib.sha256(content).hexdigest()}.npy"
            arrays[names[name]] = content
    for node in _nodes(schema):
        node.pop("__id__", None)
        if node["__loader__"] == "NdArrayNode" and "file" in node:
            node["file"] = names[str(node["file"])]
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as target:
        _write(target, SCHEMA, json.dumps(schema, separators=(",", ":")).encode())
        for name in sorted(arrays):
            _write(target, name, arrays[name])
    return output.getvalue()


def load_pipeline(content: bytes, max_bytes: int = MAX_ARCHIVE_BYTES) -> object:
    """Return the pipeline of a file that `dump_pipeline` wrote. No code from the file runs.

    Args:
        content: the bytes of the file.
        max_bytes: the largest size of the unpacked archive.

    Raises:
        ValueError: the file is damaged or too large, or contains a type that is not trusted or a
            decision tree that is not safe to use.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            archive = _open_archive(file, max_bytes)
            array_bytes = 0
            for node in _nodes(archive.schema):
                _check_node(node, archive)
                # skops reads an array each time that a node names it.
                if node.get("__loader__") == "NdArrayNode":
                    array_bytes += archive.sizes.get(str(node.get("file")), 0)
                if array_bytes > max_bytes:
                    raise ValueError(
                        f"its arrays have more than {max_bytes} bytes, which is the limit"
                    )
        with warnings.catch_warnings():
            # model.json has the version, and `read_model` has compared it.
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            return cast("object", skops.io.loads(content, trusted=all_trusted_types()))
    except zipfile.BadZipFile as error:
        raise ValueError(f"the file is damaged or not complete: {one_line(error)}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("the file needs more memory than a model does") from error
    except ValueError:
        raise
    # skops follows the schema of the file, which can lead to any error.
    except Exception as error:
        raise ValueError(f"the file is damaged: {one_line(repr(error))}") from error


def _write(target: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=_NO_TIME)
    target.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED)


def _open_archive(file: zipfile.ZipFile, max_bytes: int) -> _Archive:
    """Return the schema of an archive after a check of the names and sizes of all files."""
    entries = file.infolist()
    names = [entry.filename for entry in entries]
    odd_names = [name for name in names if name != SCHEMA and not ARRAY_NAME.fullmatch(name)]
    if odd_names:
        raise ValueError(f"the archive contains files that no model has: {format_names(odd_names)}")
    if len(set(names)) != len(names):
        raise ValueError("the archive contains two files with the same name")
    if SCHEMA not in names:
        raise ValueError(f"the archive has no {SCHEMA}, so skops did not write it")
    # zipfile reads no more bytes than an entry states.
    sizes = {entry.filename: entry.file_size for entry in entries}
    total = sum(sizes.values())
    if total > max_bytes or sizes[SCHEMA] > MAX_SCHEMA_BYTES:
        raise ValueError(f"the archive has {total} bytes when unpacked, more than the limit")
    schema = json.loads(file.read(SCHEMA))
    if not isinstance(schema, dict):
        raise ValueError(f"{SCHEMA} in the archive is not an object")
    # skops reads old protocols with other, less strict code.
    if schema.get("protocol") != _protocol():
        raise ValueError(
            f"the archive has protocol {schema.get('protocol')!r} of skops, and this environment"
            f" has protocol {_protocol()}; train the model again"
        )
    return _Archive(schema, sizes, file)


@cache
def _protocol() -> int:
    """Return the protocol that the installed skops writes."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(None))) as file:
        protocol: int = json.loads(file.read(SCHEMA))["protocol"]
        return protocol


def _nodes(schema: Json) -> Iterator[dict[str, Json]]:
    """Yield each object of a schema that skops could build something from."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            if isinstance(value.get("__loader__"), str):
                yield value


def _check_node(node: dict[str, Json], archive: _Archive) -> None:
    """Check one object of the schema: its type, and the numbers that C code would follow."""
    loader = str(node["__loader__"])
    type_name = f"{node.get('__module__')}.{node.get('__class__')}"
    if type_name not in TRUSTED.get(loader, ()):
        raise ValueError(f"it contains the type {one_line(type_name, 100)}, which is not trusted")
    # skops takes a second object with the same identity for the first one, without a check.
    if "__id__" in node:
        raise ValueError("its objects have identities, so kfgcp did not write it")
    if loader == "NdArrayNode" and node.get("type") == "numpy":
        _check_array_size(str(node.get("file")), archive)
    if loader == "TreeNode":
        check_tree(_tree_state(node, archive))


def _check_array_size(name: str, archive: _Archive) -> None:
    """Check that an array is as large as its header says, because numpy allocates that much."""
    if name not in archive.sizes or name == SCHEMA:
        raise ValueError(f"the array {one_line(name, 80)!r} is not in the archive")
    with archive.file.open(name) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("an array has an unknown format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        header_bytes = stream.tell()
    array_bytes = dtype.itemsize
    for length in shape:
        array_bytes *= max(length, 0)
    if dtype.hasobject or header_bytes + array_bytes != archive.sizes[name]:
        raise ValueError("the size of an array is not what its header says")


def _tree_state(node: dict[str, Json], archive: _Archive) -> TreeState:
    """Return the state of a decision tree, read without scikit-learn."""
    arguments = _content(_member(node, "__reduce__", "args"))
    state = _content(node.get("content"))
    if not isinstance(arguments, list) or len(arguments) != 3:
        raise ValueError("a tree has no three arguments")
    return TreeState(
        feature_count=_read_json(arguments[0]),
        class_counts=_read_array(arguments[1], archive),
        output_count=_read_json(arguments[2]),
        node_count=_read_json(_member(state, "node_count")),
        nodes=_read_array(_member(state, "nodes"), archive),
        values=_read_array(_member(state, "values"), archive),
    )


def _member(value: Json, *names: str) -> Json:
    """Return a value inside of nested objects."""
    for name in names:
        if not isinstance(value, dict) or name not in value:
            raise ValueError(f"a tree has no {name!r}")
        value = value[name]
    return value


def _content(node: Json) -> Json:
    return _member(node, "content")


def _read_json(node: Json) -> object:
    if _member(node, "__loader__") != "JsonNode":
        raise ValueError("a number of a tree has the wrong type")
    return cast("object", json.loads(str(_content(node))))


def _read_array(node: Json, archive: _Archive) -> Array:
    kind = (_member(node, "__loader__"), _member(node, "__class__"), _member(node, "type"))
    if kind != ("NdArrayNode", "ndarray", "numpy"):
        raise ValueError("an array of a tree has the wrong type")
    name = str(_member(node, "file"))
    _check_array_size(name, archive)
    array: Array = np.load(io.BytesIO(archive.file.read(name)), allow_pickle=False)
    return array
