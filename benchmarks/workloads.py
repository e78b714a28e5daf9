"""Define the workloads of compare.py: commands of the project, and what each needs to run."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from checkouts import CannotCompare, Checkout, run_in
from pipelines import NOOP, ONE_TASK, compile_source, grid, save
from process_tree import Usage, measure
from startup import clean_environment

# Runs in the store of the workloads that read a store.
RUNS = 5_000

# Runs in the stand-in of Vertex AI for the workload `read-remote`.
REMOTE_RUNS = 100

# Runs in the service of the workload `recorded`. They are copies of runs that were recorded on a
# real Kubeflow Pipelines.
RECORDED_RUNS = 1_000

# The environment in kfgcp.toml of the workloads that use a service.
ENV = "stand-in"

# The expression of the workload `where`.
WHERE = "params.lr < 0.1 and metrics.evaluate.accuracy > 0.9"

# Runs in the top folder of a checkout. The arguments are a state folder and a number of runs.
FILL_STORE = """
import sys
from pathlib import Path
sys.path.insert(0, "benchmarks")
import many_runs
many_runs.generate(Path(sys.argv[1]), int(sys.argv[2]))
"""

# Writes files into a folder, with the commands of a checkout.
Prepare = Callable[[Checkout, Path], object]


def prepare_nothing(checkout: Checkout, folder: Path) -> None:
    """Write no files."""


def ignore_output(output: str) -> object:
    """Return None for every output: two versions may word this output differently."""
    return None


@dataclass(frozen=True)
class Workload:
    """A command whose process tree is measured.

    Attributes:
        name: the value of `--only` that chooses this workload.
        title: what the command does, for readers of the table.
        words: the command line; the first word is `kfgcp` or `python`.
        write_inputs: writes the files that both sides read. It is called once, with the first
            checkout.
        write_state: fills the state folder. It is called once for each side, with the checkout of
            the side, because only this version knows the format of its store.
        serve: runs a service that both sides use, and gives the text of kfgcp.toml.
        answer: returns the part of the output that must be equal on both sides. An equal answer
            shows that both sides did the same work.
        times: how often the command runs in one round. A single run of a very short command would
            vary too much.
    """

    name: str
    title: str
    words: tuple[str, ...]
    write_inputs: Prepare = prepare_nothing
    write_state: Prepare = prepare_nothing
    serve: Callable[[], AbstractContextManager[str]] = lambda: nullcontext("")
    answer: Callable[[str], object] = ignore_output
    times: int = 1


@dataclass(frozen=True)
class Side:
    """One of the two checkouts, and the project folder that is copied for each round."""

    checkout: Checkout
    template: Path


def prepare_sides(
    workload: Workload, config: str, checkouts: list[Checkout], scratch: Path
) -> list[Side]:
    """Return the sides of a workload, with their project folders written below `scratch`.

    Args:
        workload: what will run in the folders.
        config: the text of kfgcp.toml, empty for none.
        checkouts: the versions to compare. The first one writes the inputs of both.
        scratch: an empty folder.
    """
    inputs = scratch / "inputs"
    inputs.mkdir()
    workload.write_inputs(checkouts[0], inputs)
    if config:
        (inputs / "kfgcp.toml").write_text(config, encoding="utf-8")
    sides = []
    for index, checkout in enumerate(checkouts):
        template = scratch / f"side-{index}"
        shutil.copytree(inputs, template)
        workload.write_state(checkout, template)
        sides.append(Side(checkout, template))
    return sides


def run_once(workload: Workload, side: Side, project: Path) -> Usage:
    """Return what one run of a workload used.

    Args:
        workload: has the command.
        side: has the version of kfgcp, and the template of the project folder.
        project: the folder to run in, a copy of the template that is removed at the end. Both sides
            use the same path, so that the length of the path makes no difference.
    """
    shutil.copytree(side.template, project)
    try:
        return measure(
            side.checkout.command(workload.words),
            project,
            clean_environment(),
            times=workload.times,
        )
    finally:
        shutil.rmtree(project)


def copy_example(checkout: Checkout, folder: Path) -> None:
    """Write the example pipeline as example.py."""
    shutil.copy(checkout.folder / "examples" / "train_classifier.py", folder / "example.py")


def compile_one_task(checkout: Checkout, folder: Path) -> None:
    """Write one.json, a pipeline of one task that adds."""
    compile_source(str(checkout.bin / "kfgcp"), "one", ONE_TASK, folder)


def compile_chain(checkout: Checkout, folder: Path) -> None:
    """Write grid.json, a chain of 50 tasks that do nothing."""
    noop = compile_source(str(checkout.bin / "kfgcp"), "noop", NOOP, folder)
    save(folder / "grid.json", grid(noop, 1, 50))


def compile_chains(checkout: Checkout, folder: Path) -> None:
    """Write grid.json, 10 chains of 10 tasks that do nothing."""
    noop = compile_source(str(checkout.bin / "kfgcp"), "noop", NOOP, folder)
    save(folder / "grid.json", grid(noop, 10, 10))


def compile_thousand(checkout: Checkout, folder: Path) -> None:
    """Write grid.json, 10 chains of 100 tasks that do nothing."""
    noop = compile_source(str(checkout.bin / "kfgcp"), "noop", NOOP, folder)
    save(folder / "grid.json", grid(noop, 10, 100))


def run_grid(checkout: Checkout, folder: Path) -> None:
    """Run grid.json, so that the next run finds all its tasks in the cache."""
    measure(checkout.command(("kfgcp", "run", "grid.json", "--cache")), folder, clean_environment())


def fill_store(checkout: Checkout, folder: Path) -> None:
    """Fill the store with the runs that many_runs.py of the checkout generates.

    Each version of many_runs.py generates the same runs.
    """
    run_in(checkout, ["-c", FILL_STORE, str(folder / ".kfgcp"), str(RUNS)])


@contextlib.contextmanager
def vertex(runs: int = 0) -> Iterator[str]:
    """Serve a stand-in of Vertex AI, and yield the text of a kfgcp.toml with its address.

    The stand-in comes from the Python that runs this file, and both sides use it.

    Args:
        runs: the number of runs in the stand-in. They have ended.

    Raises:
        CannotCompare: this Python has no kfgcp, or lacks the packages of the stand-in.
    """
    try:
        import kfgcp.testing
        from kfgcp.errors import MissingExtra
    except ModuleNotFoundError:
        raise CannotCompare(
            "A stand-in needs kfgcp: run compare.py with .venv/bin/python."
        ) from None
    try:
        service = kfgcp.testing.vertex(mode="instant")
    except MissingExtra as error:
        raise CannotCompare(f"{error} Make the environment: make .venv/dev.stamp") from None
    with service:
        service.seed(runs, experiment="many", params={"lr": 0.1}, metrics={"accuracy": 0.9})
        yield service.toml(ENV)


@contextlib.contextmanager
def recorded_kubeflow() -> Iterator[str]:
    """Serve copies of recorded runs of Kubeflow Pipelines, and yield the text of a kfgcp.toml."""
    from recorded_service import serve_copies

    with serve_copies(RECORDED_RUNS) as url:
        yield f'[env.{ENV}]\nbackend = "kubeflow"\nhost = "{url}"\nauth = "anonymous"\n'


def run_ids(output: str) -> list[str]:
    """Return the ids of a list of runs."""
    return [run["run_id"] for run in json.loads(output)]


def count_runs(output: str) -> int:
    """Return the length of a list of runs."""
    return len(json.loads(output))


def task_states(output: str) -> list[tuple[str, str]]:
    """Return the path and the state of each task of a run, sorted by path."""
    tasks = json.loads(output)["tasks"]
    return sorted((task["path"], task["state"]) for task in tasks)


def count_lines(output: str) -> int:
    """Return the number of lines."""
    return len(output.splitlines())


# All workloads, the shortest first.
WORKLOADS = (
    Workload("import", "`import kfgcp`, 5 times", ("python", "-c", "import kfgcp"), times=5),
    Workload("startup", "`kfgcp --help`, 5 times", ("kfgcp", "--help"), times=5),
    Workload(
        "compile",
        "compiling examples/train_classifier.py",
        ("kfgcp", "compile", "example.py", "-o", "example.yaml"),
        write_inputs=copy_example,
    ),
    Workload(
        "one-task",
        "a run of one task",
        ("kfgcp", "run", "one.json", "--no-cache", "--json"),
        write_inputs=compile_one_task,
        answer=task_states,
    ),
    Workload(
        "chain",
        "a run of 50 tasks, one after the other",
        ("kfgcp", "run", "grid.json", "--no-cache", "--json"),
        write_inputs=compile_chain,
        answer=task_states,
    ),
    Workload(
        "thousand",
        "a run of 1,000 tasks, 10 at a time",
        ("kfgcp", "run", "grid.json", "--no-cache", "--max-parallel", "10", "--json"),
        write_inputs=compile_thousand,
        answer=task_states,
    ),
    Workload(
        "cached",
        "a run of 100 tasks, all cached",
        ("kfgcp", "run", "grid.json", "--cache", "--json"),
        write_inputs=compile_chains,
        write_state=run_grid,
        answer=task_states,
    ),
    Workload(
        "list",
        f"`kfgcp list`, {RUNS:,} runs in the store",
        ("kfgcp", "list", "--json"),
        write_state=fill_store,
        answer=run_ids,
    ),
    Workload(
        "where",
        f"`kfgcp list --where`, {RUNS:,} runs in the store",
        ("kfgcp", "list", "--where", WHERE, "--json"),
        write_state=fill_store,
        answer=run_ids,
    ),
    Workload(
        "export",
        f"`kfgcp export` of {RUNS:,} runs as CSV",
        ("kfgcp", "export", "--format", "csv"),
        write_state=fill_store,
        answer=count_lines,
    ),
    Workload(
        "compare",
        f"`kfgcp compare` of the two newest of {RUNS:,} runs",
        ("kfgcp", "compare"),
        write_state=fill_store,
    ),
    Workload(
        "submit",
        "submitting to a stand-in of Vertex AI",
        ("kfgcp", "run", "one.json", "--env", ENV, "--detach"),
        write_inputs=compile_one_task,
        serve=vertex,
    ),
    Workload(
        "read-remote",
        f"`kfgcp list`, {REMOTE_RUNS} runs of a stand-in of Vertex AI, none known yet",
        ("kfgcp", "list", "--env", ENV, "--limit", str(REMOTE_RUNS), "--json"),
        serve=lambda: vertex(REMOTE_RUNS),
        answer=count_runs,
    ),
    Workload(
        "recorded",
        f"`kfgcp list --metrics`, {RECORDED_RUNS:,} copies of recorded runs of Kubeflow Pipelines,"
        " none known yet",
        ("kfgcp", "list", "--metrics", "--env", ENV, "--limit", str(RECORDED_RUNS), "--json"),
        serve=recorded_kubeflow,
        answer=count_runs,
    ),
)
