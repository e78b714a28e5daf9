"""The beginning of what an artifact holds, read safely: a run may name any file, and only its own
are opened here.

Pure of Streamlit. A preview says what it is; `artifacts.py` shows it.
"""

from __future__ import annotations

import html
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kfgcp import file_uris
from kfgcp.backends.registry import runs_here
from kfgcp.config import Environment, Project
from kfgcp.model import Artifact

BYTES: Final = 256 * 1024
"""Of a text, and of an HTML document."""
IMAGE_BYTES: Final = 700 * 1024
ROWS: Final = 100
COLUMNS: Final = 40
FILES: Final = 200
POLICY: Final = (
    "default-src 'none'; img-src data:; media-src data:; font-src data:; style-src 'unsafe-inline';"
    " form-action 'none'"
)
"""What a document of a run may load: what it brings along."""
_IMAGES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


@dataclass(frozen=True, slots=True)
class Preview:
    """kind: text, json, table, image, html, markdown, files or none. body: accordingly; for none,
    why."""

    kind: str
    body: Any
    cut: bool = False


def preview(artifact: Artifact, folders: tuple[Path, ...]) -> Preview:
    """What an artifact begins with.

    Args:
        artifact: of a run; where it says it is may be anything.
        folders: only files below these are opened.
    """
    if not artifact.uri:
        return Preview("none", "It has no file.")
    path = local_path(artifact.uri)
    if path is None:
        return Preview(
            "none", "It is not below the pipeline_root of an environment, so it is not read here."
        )
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError):
        return Preview("none", "It is not there any more, or was never written.")
    if not any(real.is_relative_to(folder.resolve()) for folder in folders):
        return Preview(
            "none", "It lies outside of the folders that runs write to, so it is not opened here."
        )
    try:
        return _of_folder(real) if real.is_dir() else _of_file(real, artifact.type)
    except OSError as error:
        return Preview("none", f"It cannot be read: {error.strerror or error}.")


def folders_of(project: Project) -> tuple[Path, ...]:
    """The folders that runs on this machine write their artifacts to."""
    found = [project.home / "artifacts"]
    for env in project.environments.values():
        root = env.get("pipeline_root") if runs_here(env.backend) else None
        if root and ("://" not in root or file_uris.is_file_uri(root)):
            found.append(project.root / file_uris.to_path(root))
    return tuple(found)


def env_of_root(uri: str, project: Project, run_env: str) -> Environment | None:
    """Return the environment whose pipeline root an address in a bucket lies below, None when there
    is none.

    The dashboard may read more than those who look, so what runs name elsewhere is not read for
    them.

    Args:
        uri: of an artifact.
        project: has the environments.
        run_env: the environment of the artifact's run. It comes first, because two environments may
            have the same root at different servers, such as `minio://mlpipeline`.
    """
    environments = sorted(project.environments.values(), key=lambda env: env.name != run_env)
    for env in environments:
        root = env.get("pipeline_root") or ""
        if "://" in root and uri.startswith(f"{root.rstrip('/')}/"):
            return env
    return None


def of_text(text: str, kind: str, cut: bool) -> Preview:
    """What a text is, by the type of its artifact and by how it begins."""
    if kind == "system.HTML" or text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
        return Preview("html", text, cut)
    if kind == "system.Markdown":
        return Preview("markdown", text, cut)
    if text.lstrip().startswith(("{", "[")) and not cut:
        with suppress(ValueError):
            return Preview("json", json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    return _lines(text, cut)


def local_path(uri: str) -> Path | None:
    """The file that an address names on this machine, None when it is elsewhere."""
    path = file_uris.to_path(uri)
    return Path(path) if path.startswith("/") else None


def boxed(document: str) -> str:
    """An HTML document of a run inside of one of ours: in a frame without any rights. No scripts,
    no forms, no origin, no way out, and by its policy no request to anywhere.

    The policy is also that of the outer document, from which the inner one has it before it is
    read.
    """
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    inner = html.escape(policy + document, quote=True)
    return (
        "<!doctype html><meta"
        f' charset="utf-8">{policy}<style>html,body{{margin:0;height:100%;background:#fff}}iframe{{border:0;width:100%;height:100%;display:block}}</style><iframe'
        f' sandbox="" referrerpolicy="no-referrer" title="artifact" srcdoc="{inner}"></iframe>'
    )


def _of_folder(folder: Path) -> Preview:
    names: list[dict[str, Any]] = []
    for number, each in enumerate(sorted(folder.rglob("*"))):
        if number == FILES:
            return Preview("files", names, cut=True)
        names.append(
            {
                "name": str(each.relative_to(folder)),
                "bytes": each.stat().st_size if each.is_file() else None,
            }
        )
    return Preview("files", names)


def _of_file(file: Path, kind: str) -> Preview:
    with file.open("rb") as opened:
        head = opened.read(IMAGE_BYTES + 1)
    if not head:
        return Preview("none", "It is empty.")
    for magic, mime in _IMAGES.items():
        if head.startswith(magic):
            whole = len(head) <= IMAGE_BYTES
            return (
                Preview("image", (mime, head))
                if whole
                else Preview("none", "The picture is too large to show here.")
            )
    if head.startswith(b"PAR1"):
        return _parquet(file)
    cut = len(head) > BYTES
    try:
        text = head[:BYTES].decode("utf-8", errors="ignore" if cut else "strict")
    except UnicodeDecodeError:
        return Preview("none", f"It is binary: {file.stat().st_size:,} bytes.")
    if "\0" in text:
        return Preview("none", f"It is binary: {file.stat().st_size:,} bytes.")
    return of_text(text, kind, cut)


def _lines(text: str, cut: bool) -> Preview:
    """A text, or the table that it is when its lines have the same number of commas or tabs."""
    import csv

    lines = text.splitlines()
    for delimiter in (",", "\t"):
        sample = list(csv.reader(lines[: ROWS + 1], delimiter=delimiter))
        widths = {len(row) for row in sample[:-1] or sample}
        if len(widths) == 1 and widths != {1} and len(sample) > 1:
            header = [name or f"column {number}" for number, name in enumerate(sample[0][:COLUMNS])]
            rows = [dict(zip(_unique(header), row, strict=False)) for row in sample[1:]]
            return Preview("table", rows, cut or len(lines) > ROWS + 1)
    return Preview("text", text, cut)


def _parquet(file: Path) -> Preview:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(file) as opened:
            names = opened.schema_arrow.names[:COLUMNS]
            batch = next(opened.iter_batches(batch_size=ROWS, columns=names), None)
            total = opened.metadata.num_rows
    except ArrowException as error:
        return Preview("none", f"It cannot be read as Parquet: {type(error).__name__}.")
    rows = [] if batch is None else batch.to_pylist()
    return Preview("table", rows, total > len(rows))


def _unique(names: list[str]) -> list[str]:
    taken: dict[str, int] = {}
    found = []
    for name in names:
        taken[name] = taken.get(name, 0) + 1
        found.append(name if taken[name] == 1 else f"{name} ({taken[name]})")
    return found
