"""Read the beginning of an artifact safely.

A run can name any file of this machine as its artifact, and the dashboard can read more than its
visitors may. So only files below the folders that runs write to are opened.

This module does not use Streamlit. `artifacts.py` shows the previews.
"""

from __future__ import annotations

import csv
import html
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kfgcp import Artifact, Environment, Project, file_uris
from kfgcp.backends.registry import runs_here

# The limits keep a page small: everything goes to the browser over one websocket.
MAX_TEXT_BYTES: Final = 256 * 1024
MAX_IMAGE_BYTES: Final = 700 * 1024
MAX_ROWS: Final = 100
MAX_COLUMNS: Final = 40
MAX_FILES: Final = 200

# An HTML artifact may show only what is inside the document. It may not send requests, so it
# cannot tell anybody what it shows.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; img-src data:; media-src data:; font-src data:; style-src 'unsafe-inline';"
    " form-action 'none'"
)

# The first bytes of a file -> its media type. SVG is missing on purpose: it can hold scripts.
_IMAGE_TYPES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
_PARQUET_MAGIC: Final = b"PAR1"

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of an artifact.

    Attributes:
        kind: text, json, table, image, html, markdown, files or none.
        body: a text; for table and files the rows; for image its media type and bytes; for none
            the reason.
        is_cut: whether the artifact is longer.
    """

    kind: str
    body: str | list[Row] | tuple[str, bytes]
    is_cut: bool = False


def read_preview(artifact: Artifact, folders: tuple[Path, ...]) -> Preview:
    """Return the beginning of an artifact on this machine.

    Args:
        artifact: of a run. Its address can be any text.
        folders: only files below these are opened.
    """
    if not artifact.uri:
        return Preview("none", "The artifact has no file.")
    path = local_path(artifact.uri)
    if path is None:
        return Preview(
            "none",
            "This file is not in the pipeline_root of any environment, so the dashboard does not"
            " read it.",
        )
    try:
        # Links are resolved before the check, or a link in an allowed folder could lead anywhere.
        real_path = path.resolve(strict=True)
    except (OSError, ValueError):
        return Preview("none", "The file does not exist: it was removed, or was never written.")
    if not any(real_path.is_relative_to(folder.resolve()) for folder in folders):
        return Preview(
            "none",
            "The file is outside the folders of the runs, so the dashboard does not open it.",
        )
    try:
        if real_path.is_dir():
            return _list_folder(real_path)
        return _read_file(real_path, artifact.type)
    except OSError as error:
        return Preview("none", f"The file cannot be read: {error.strerror or error}.")


def artifact_folders(project: Project) -> tuple[Path, ...]:
    """Return the folders of this machine that runs write their artifacts to."""
    folders = [project.home / "artifacts"]
    for env in project.environments.values():
        root = env.get("pipeline_root")
        if not root or not runs_here(env.backend):
            continue
        if "://" not in root or file_uris.is_file_uri(root):
            folders.append(project.root / file_uris.to_path(root))
    return tuple(folders)


def find_bucket_environment(uri: str, project: Project, run_env: str) -> Environment | None:
    """Return the environment whose pipeline root contains an address in a bucket.

    Artifacts elsewhere are not read, because the dashboard can read more than its visitors may.

    Args:
        uri: of an artifact.
        project: has the environments.
        run_env: the environment of the artifact's run. It comes first, because two environments can
            have the same root on different servers, such as `minio://mlpipeline`.

    Returns:
        None when no environment has this address.
    """
    environments = sorted(project.environments.values(), key=lambda env: env.name != run_env)
    for env in environments:
        root = env.get("pipeline_root") or ""
        if "://" in root and uri.startswith(f"{root.rstrip('/')}/"):
            return env
    return None


def preview_text(text: str, artifact_type: str, is_cut: bool) -> Preview:
    """Return the preview of a text.

    The type of the artifact and the beginning of the text decide its kind.

    Args:
        text: the beginning of the artifact.
        artifact_type: schema title, for example `system.HTML`.
        is_cut: whether the artifact is longer.
    """
    beginning = text.lstrip()[:15].lower()
    if artifact_type == "system.HTML" or beginning.startswith(("<!doctype html", "<html")):
        return Preview("html", text, is_cut)
    if artifact_type == "system.Markdown":
        return Preview("markdown", text, is_cut)
    if beginning.startswith(("{", "[")) and not is_cut:
        with suppress(ValueError):
            return Preview("json", json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    return _read_lines(text, is_cut)


def local_path(uri: str) -> Path | None:
    """Return the path of an address, None when the address is not on this machine."""
    path = file_uris.to_path(uri)
    if not path.startswith("/"):
        return None
    return Path(path)


def sandbox_html(document: str) -> str:
    """Return an HTML artifact inside a document of ours, in a frame without any rights.

    The frame has no scripts, forms, origin or navigation (`sandbox=""`), and its policy forbids
    all requests.
    """
    # The policy is in both documents. A frame with `srcdoc` inherits the policy of the outer
    # document (Content Security Policy Level 3, "CSP Inheriting to avoid bypasses"), so it
    # applies before the browser reads the first byte of the artifact.
    policy = f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">'
    style = (
        "<style>html,body{margin:0;height:100%;background:#fff}"
        "iframe{border:0;width:100%;height:100%;display:block}</style>"
    )
    inner_document = html.escape(policy + document, quote=True)
    frame = (
        '<iframe sandbox="" referrerpolicy="no-referrer" title="artifact"'
        f' srcdoc="{inner_document}"></iframe>'
    )
    return f'<!doctype html><meta charset="utf-8">{policy}{style}{frame}'


def _list_folder(folder: Path) -> Preview:
    rows: list[Row] = []
    for path in sorted(folder.rglob("*")):
        if len(rows) == MAX_FILES:
            return Preview("files", rows, is_cut=True)
        size = path.stat().st_size if path.is_file() else None
        rows.append({"name": str(path.relative_to(folder)), "bytes": size})
    return Preview("files", rows)


def _read_file(file: Path, artifact_type: str) -> Preview:
    with file.open("rb") as stream:
        head = stream.read(MAX_IMAGE_BYTES + 1)
    if not head:
        return Preview("none", "The file is empty.")
    for magic, media_type in _IMAGE_TYPES.items():
        if head.startswith(magic):
            if len(head) > MAX_IMAGE_BYTES:
                return Preview("none", "The picture is too large to show here.")
            return Preview("image", (media_type, head))
    if head.startswith(_PARQUET_MAGIC):
        return _read_parquet(file)
    is_cut = len(head) > MAX_TEXT_BYTES
    # The cut can be inside a character.
    errors = "ignore" if is_cut else "strict"
    binary = Preview("none", f"The file is binary: {file.stat().st_size:,} bytes.")
    try:
        text = head[:MAX_TEXT_BYTES].decode("utf-8", errors=errors)
    except UnicodeDecodeError:
        return binary
    # NUL is valid UTF-8, but no text has it.
    if "\0" in text:
        return binary
    return preview_text(text, artifact_type, is_cut)


def _read_lines(text: str, is_cut: bool) -> Preview:
    """Return a table when all lines have the same number of commas or tabs, else the text."""
    lines = text.splitlines()
    for delimiter in (",", "\t"):
        sample = list(csv.reader(lines[: MAX_ROWS + 1], delimiter=delimiter))
        if _is_table(sample):
            columns = _column_names(sample[0][:MAX_COLUMNS])
            rows: list[Row] = []
            for cells in sample[1:]:
                # Lines can have more cells than MAX_COLUMNS.
                row: Row = dict(zip(columns, cells, strict=False))
                rows.append(row)
            return Preview("table", rows, is_cut or len(lines) > MAX_ROWS + 1)
    return Preview("text", text, is_cut)


def _is_table(sample: list[list[str]]) -> bool:
    if len(sample) < 2:
        return False
    # The last line of the sample can be cut.
    widths = {len(cells) for cells in sample[:-1]}
    return len(widths) == 1 and widths != {1}


def _read_parquet(file: Path) -> Preview:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(file) as table:
            columns = table.schema_arrow.names[:MAX_COLUMNS]
            batch = next(table.iter_batches(batch_size=MAX_ROWS, columns=columns), None)
            total = table.metadata.num_rows
    except ArrowException as error:
        return Preview("none", f"The file cannot be read as Parquet: {type(error).__name__}.")
    rows = [] if batch is None else batch.to_pylist()
    return Preview("table", rows, total > len(rows))


def _column_names(header: list[str]) -> list[str]:
    """Return a name for each column. Columns without a name or with an equal name get a number."""
    counts = Counter[str]()
    names = []
    for index, title in enumerate(header):
        name = title or f"column {index}"
        counts[name] += 1
        if counts[name] > 1:
            name = f"{name} ({counts[name]})"
        names.append(name)
    return names
