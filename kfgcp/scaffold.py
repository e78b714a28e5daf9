"""A new project that runs at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kfgcp.atomic import write_file
from kfgcp.errors import StateError, UsageError
from kfgcp.machine import current_folder

_TOML = """\
# The environments of this project. `kfgcp run` uses [env.local] unless it is told another with --env.
[project]
name = "{name}"
experiment = "default"

[env.local]
backend = "local"

# [env.dev]
# backend = "vertex"
# project = "my-project"
# location = "europe-west4"
# pipeline_root = "gs://my-bucket"
"""

_PIPELINE = '''\
"""How many words of a text are long: plain Kubeflow Pipelines, nothing of kfgcp in it."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output


@dsl.component(base_image="python:3.11")
def make_words(text: str, words: Output[Dataset]) -> int:
    """Writes the words of a text, one a line, and returns how many there are."""
    found = text.split()
    with open(words.path, "w") as file:
        file.write("\\n".join(found))
    print(f"{len(found)} words")
    return len(found)


@dsl.component(base_image="python:3.11")
def measure(words: Input[Dataset], longer_than: int, metrics: Output[Metrics]) -> float:
    """Measures the share of words that are longer than a number of letters."""
    with open(words.path) as file:
        lengths = [len(line.strip()) for line in file]
    share = sum(length > longer_than for length in lengths) / max(len(lengths), 1)
    metrics.log_metric("share_of_long_words", share)
    metrics.log_metric("mean_length", sum(lengths) / max(len(lengths), 1))
    return share


@dsl.pipeline(name="long-words")
def long_words(text: str = "the quick brown fox jumps over the lazy dog", longer_than: int = 4) -> float:
    """Measures how many words of a text are long.

    Args:
        text: the text.
        longer_than: a word with more letters is long.
    """
    words = make_words(text=text)
    return measure(words=words.outputs["words"], longer_than=longer_than).outputs["Output"]
'''

_IGNORE = """\
.kfgcp/
__pycache__/
"""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What was written. run: the command that runs the pipeline, from the folder."""

    folder: Path
    files: tuple[Path, ...]
    run: str


def scaffold(folder: Path) -> Scaffold:
    """Writes kfgcp.toml, a pipeline and a .gitignore (when there is none) into a folder, made if it
    is not there.

    Raises:
        UsageError: there is such a file already; nothing is written.
        StateError: the folder cannot be written.
    """
    folder_name = (folder if folder.is_absolute() else current_folder() / folder).resolve().name
    name = "".join(c for c in folder_name if c.isprintable() and c not in '"\\') or "project"
    pipeline = Path("pipelines") / "long_words.py"
    texts = {
        Path("kfgcp.toml"): _TOML.format(name=name),
        pipeline: _PIPELINE,
    }
    taken = [file for file in texts if (folder / file).exists()]
    if taken:
        raise UsageError(
            f"{folder / taken[0]} is there already; nothing was written.",
            hint="Name another folder: kfgcp init DIR",
        )
    if not (folder / ".gitignore").exists():
        texts[Path(".gitignore")] = _IGNORE
    try:
        (folder / pipeline).parent.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            write_file(folder / file, text.encode())
    except OSError as error:
        raise StateError(
            f"{folder} cannot be written: {error.strerror}.", hint="Name another folder."
        ) from error
    return Scaffold(folder, tuple(texts), f"kfgcp run {pipeline}")
