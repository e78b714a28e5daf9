"""Start a new project with a pipeline that runs at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kfgcp.atomic import write_file
from kfgcp.errors import StateError, UsageError
from kfgcp.machine import current_folder
from kfgcp.project_templates import find_template

_TOML = """\
# The environments of this project. `kfgcp run` uses [env.local], or the one that --env names.
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
"""Count how many words of a text are long. This is plain Kubeflow Pipelines without kfgcp."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output


@dsl.component(base_image="python:3.11")
def make_words(text: str, words: Output[Dataset]) -> int:
    """Write the words of a text, each on its own line, and return how many there are."""
    word_list = text.split()
    with open(words.path, "w") as file:
        file.write("\\n".join(word_list))
    print(f"{len(word_list)} words")
    return len(word_list)


@dsl.component(base_image="python:3.11")
def measure(words: Input[Dataset], longer_than: int, metrics: Output[Metrics]) -> float:
    """Measure the share of words that are longer than a number of letters."""
    with open(words.path) as file:
        lengths = [len(line.strip()) for line in file]
    share = sum(length > longer_than for length in lengths) / max(len(lengths), 1)
    metrics.log_metric("share_of_long_words", share)
    metrics.log_metric("mean_length", sum(lengths) / max(len(lengths), 1))
    return share


@dsl.pipeline(name="long-words")
def long_words(
    text: str = "the quick brown fox jumps over the lazy dog", longer_than: int = 4
) -> float:
    """Measure how many words of a text are long.

    Args:
        text: the text.
        longer_than: a word with more letters is long.
    """
    words = make_words(text=text)
    return measure(words=words.outputs["words"], longer_than=longer_than).outputs["Output"]
'''

_GITIGNORE = """\
.kfgcp/
__pycache__/
"""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """The files of a new project.

    Attributes:
        folder: the folder of the project.
        files: the paths of the written files, relative to the folder.
        run: the command that runs the pipeline, from the folder.
    """

    folder: Path
    files: tuple[Path, ...]
    run: str


def scaffold(folder: Path, template: str | None = None) -> Scaffold:
    """Write kfgcp.toml, a pipeline and a .gitignore into a folder.

    The folder is created when it is missing. A .gitignore that exists stays as it is.

    Args:
        folder: the folder of the project.
        template: the name of a template, None for the smallest project.

    Raises:
        UsageError: one of the other files exists, or kfgcp has no template with
            this name. Nothing is written.
        StateError: the folder cannot be written.
    """
    contents, run = _contents(folder, template)
    for file in contents:
        if (folder / file).exists():
            raise UsageError(
                f"{folder / file} already exists. Nothing was written.",
                hint="Choose another folder: kfgcp init DIR",
            )
    if not (folder / ".gitignore").exists():
        contents[Path(".gitignore")] = _GITIGNORE.encode()
    try:
        # All folders come first. When one of them cannot be made, no file is written.
        for file in contents:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            write_file(folder / file, content)
    except OSError as error:
        raise StateError(
            f"{folder} cannot be written: {error.strerror}.", hint="Choose another folder."
        ) from error
    return Scaffold(folder, tuple(contents), run)


def _contents(folder: Path, template: str | None) -> tuple[dict[Path, bytes], str]:
    """Return the files of a new project with their contents, and the command that runs it."""
    name = _project_name(folder)
    if template is not None:
        chosen = find_template(template)
        return chosen.contents(name), chosen.run
    pipeline = Path("pipelines") / "long_words.py"
    contents = {
        Path("kfgcp.toml"): _TOML.format(name=name).encode(),
        pipeline: _PIPELINE.encode(),
    }
    return contents, f"kfgcp run {pipeline}"


def _project_name(folder: Path) -> str:
    """Return the name of a folder without the characters that a quoted text in TOML cannot have."""
    path = folder if folder.is_absolute() else current_folder() / folder
    # A folder such as ".." or a link has the name of the folder that it means.
    folder_name = path.resolve().name
    allowed = [char for char in folder_name if char.isprintable() and char not in '"\\']
    return "".join(allowed) or "project"
