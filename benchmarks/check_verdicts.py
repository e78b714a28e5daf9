"""Compare what `kfgcp check` says of pipelines with what the local engine does with them.

    .venv/bin/python benchmarks/check_verdicts.py FOLDER [--image IMAGE] [--record FILE]

Every pipeline below FOLDER is compiled, checked for this machine, and then run here, without the
cache. For example, FOLDER is a clone of https://github.com/kubeflow/pipelines.

A parameter without a value gets a sample of its type. With `--image`, all containers run in this
image, because most images cannot be pulled everywhere; their commands stay. The check always sees
the pipeline as it is written.

The failure of a program, such as an exception of the user's code, is not a failure of the engine: a
check cannot know it. When this machine lacks something, such as a package, a network or a secret,
the run decides nothing. Both are counted apart, and their messages are printed.

Hundreds of pipelines take a while. With `--record`, each verdict is written to a file at once, a
JSON object on a line, and files with a verdict there are not judged again.
"""

from __future__ import annotations

import argparse
import ast
import enum
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from startup import clean_environment, machine

# A PipelineSpec, or a part of an answer, as JSON.
Document = dict[str, Any]

KFGCP: Final = str(Path(sys.executable).with_name("kfgcp"))

SAMPLES: Final = {
    "NUMBER_INTEGER": "3",
    "NUMBER_DOUBLE": "0.5",
    "BOOLEAN": "true",
    "LIST": "[1, 2]",
    "STRUCT": '{"a": 1}',
}

# The images of CreatePVC and DeletePVC are names for the driver of Kubeflow, not images.
NOT_AN_IMAGE: Final = "argostub/"

# Exit codes of kfgcp, see kfgcp/errors.py.
WRONG_CALL: Final = 2
BACKEND_ERROR: Final = 5
RUN_FAILED: Final = 6
RUN_TIMEOUT: Final = 7

# The engine ends a run that takes too long. The process of the command gets this time more.
EXTRA_SECONDS: Final = 60

# What the message of a task says when this machine lacks something.
LACKING: Final = re.compile(
    r"is not on this machine and cannot be pulled|No Docker engine|exited with code 12[67]\b"
    r"|cannot be installed|could not be installed|installing .* failed|No module named"
    r"|on a cluster; here, set|on a cluster; here, make|no connection|no credentials"
    r"|Name or service not known|Temporary failure in name resolution|ConnectionError"
    r"|Max retries exceeded|Connection refused|Couldn't find .* on the Hugging Face"
)

# What the message of a task says when its program ended by itself, or was killed.
PROGRAM_ENDED: Final = re.compile(
    r"the (?:process|container of \S+) (?:exited with code|was killed by)"
    r"|(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Exit|Interrupt)(?::|\Z)"
)


class Outcome(enum.StrEnum):
    """What the engine did with a pipeline."""

    COMPLETED = "completed"
    PROGRAM_FAILED = "its program failed"
    REFUSED = "refused"
    UNDECIDED = "this machine lacks something"


@dataclass(frozen=True)
class Verdict:
    """A pipeline, what the check says of it, and what the engine did.

    Attributes:
        name: the file below the folder, with the function when the file has several pipelines.
        runs: whether the check finds no error.
        errors: the errors of the check: rule and message.
        warnings: the warnings of the check.
        outcome: what the engine did.
        reasons: why the engine did not complete the pipeline.
    """

    name: str
    runs: bool
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outcome: Outcome = Outcome.COMPLETED
    reasons: list[str] = field(default_factory=list)

    @property
    def is_false_run(self) -> bool:
        """Whether the check says that it runs, and the engine refused it."""
        return self.runs and self.outcome is Outcome.REFUSED

    @property
    def is_false_alarm(self) -> bool:
        """Whether the check says that it does not run, and the engine ran it."""
        return not self.runs and self.outcome in (Outcome.COMPLETED, Outcome.PROGRAM_FAILED)


@dataclass(frozen=True)
class Settings:
    """How pipelines run.

    Attributes:
        folder: the folder of the project and of compiled pipelines.
        image: the image that all containers run in, "" for their own.
        seconds: the limit of a run.
        record: the file that keeps the verdicts, None for no file.
    """

    folder: Path
    image: str = ""
    seconds: int = 120
    record: Path | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder with pipelines")
    parser.add_argument("--image", default="", help="the image that all containers run in")
    parser.add_argument("--seconds", type=int, default=120, help="limit of a run (default: 120)")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--only", default="", help="only files whose path contains this text")
    parser.add_argument("--record", type=Path, help="a file that keeps the verdicts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kfgcp-verdicts-") as name:
        settings = Settings(Path(name), options.image, options.seconds, options.record)
        verdicts, without_pipeline = judge_folder(
            options.folder.resolve(), settings, workers=options.workers, only=options.only
        )
    print("\n".join(report(verdicts, without_pipeline)))
    is_wrong = any(verdict.is_false_run or verdict.is_false_alarm for verdict in verdicts)
    sys.exit(4 if is_wrong else 0)


def judge_folder(
    folder: Path, settings: Settings, *, workers: int = 2, only: str = ""
) -> tuple[list[Verdict], list[str]]:
    """Return the verdict for each pipeline below a folder, and the files without a pipeline.

    Args:
        folder: the folder to search.
        settings: how pipelines run.
        workers: how many pipelines run at the same time.
        only: a text that the path of a file must contain.
    """
    (settings.folder / "kfgcp.toml").write_text('[env.local]\nbackend = "local"\n')
    endings = (".py", ".yaml", ".yml", ".json")
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in endings and only in str(file.relative_to(folder))
    ]

    recorded_verdicts = read_record(settings.record)

    def judge_numbered(job: tuple[int, Path]) -> list[Verdict]:
        number, file = job
        name = str(file.relative_to(folder))
        return recorded_verdicts.get(name) or list(judge_file(file, folder, settings, number))

    with ThreadPoolExecutor(workers) as pool:
        verdicts_by_file = list(pool.map(judge_numbered, enumerate(files)))
    verdicts = [verdict for judged in verdicts_by_file for verdict in judged]
    without_pipeline = [
        str(file.relative_to(folder))
        for file, judged in zip(files, verdicts_by_file, strict=True)
        if not judged
    ]
    return verdicts, without_pipeline


def read_record(record: Path | None) -> dict[str, list[Verdict]]:
    """Return the verdicts in a file, by the names of the files of their pipelines."""
    verdicts: dict[str, list[Verdict]] = {}
    if record is not None and record.exists():
        for line in record.read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            verdict = Verdict(**{**fields, "outcome": Outcome(fields["outcome"])})
            verdicts.setdefault(verdict.name.partition(":")[0], []).append(verdict)
    return verdicts


def judge_file(file: Path, folder: Path, settings: Settings, number: int) -> Iterator[Verdict]:
    """Yield the verdict for each pipeline in a file."""
    name = str(file.relative_to(folder))
    output = settings.folder / f"pipeline-{number}.yaml"
    compiled = kfgcp(settings, "compile", file, "-o", output)
    if compiled.returncode == 0:
        yield judge_pipeline(name, output, settings)
    elif compiled.returncode == WRONG_CALL and file.suffix == ".py":
        for function in pipeline_functions(file):
            output = settings.folder / f"pipeline-{number}-{function}.yaml"
            if kfgcp(settings, "compile", f"{file}:{function}", "-o", output).returncode == 0:
                yield judge_pipeline(f"{name}:{function}", output, settings)


def pipeline_functions(file: Path) -> list[str]:
    """Return the functions of a Python file that are decorated as pipelines."""
    names = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if ast.unparse(called).rpartition(".")[2] == "pipeline":
                names.append(node.name)
    return names


def judge_pipeline(name: str, compiled: Path, settings: Settings) -> Verdict:
    """Return the verdict for a compiled pipeline."""
    documents = list(yaml.safe_load_all(compiled.read_text(encoding="utf-8")))
    params = sample_params(documents[0], settings.folder)
    checked = kfgcp(settings, "check", compiled, "--env", "local", "--json", *params)
    findings = json.loads(checked.stdout)["findings"] if checked.stdout else []
    errors = [line_of(finding) for finding in findings if finding["severity"] == "error"]
    warnings = [line_of(finding) for finding in findings if finding["severity"] == "warning"]
    if not checked.stdout:
        errors = [checked.stderr.strip()]
    if settings.image:
        replace_images(documents[0], settings.image)
        compiled.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    outcome, reasons = run_pipeline(compiled, params, settings)
    verdict = Verdict(name, not errors, errors, warnings, outcome, reasons)
    if settings.record is not None:
        # One write of a short text: lines of several threads do not mix.
        with settings.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")
    return verdict


def line_of(finding: Document) -> str:
    """Return a finding as one line, with the id of its rule."""
    return f"{finding['rule']}: {finding['message']}"


def sample_params(document: Document, folder: Path) -> list[str]:
    """Return options of the command line with values for the parameters that need one."""
    inputs = document["root"].get("inputDefinitions") or {}
    options = []
    for name, param in (inputs.get("parameters") or {}).items():
        if "defaultValue" not in param and not param.get("isOptional"):
            options += ["-p", f"{name}={SAMPLES.get(param.get('parameterType'), 'text')}"]
    for name, artifact in (inputs.get("artifacts") or {}).items():
        if not artifact.get("isOptional"):
            file = folder / "sample.txt"
            file.write_text("a,b\n1,2\n")
            options += ["-p", f"{name}={file}"]
    return options


def replace_images(document: Document, image: str) -> None:
    """Let all containers of a pipeline run in one image."""
    executors = document.get("deploymentSpec", {}).get("executors", {})
    for executor in executors.values():
        container = executor.get("container")
        if container and not container.get("image", "").startswith(NOT_AN_IMAGE):
            container["image"] = image


def run_pipeline(
    compiled: Path, params: Sequence[str], settings: Settings
) -> tuple[Outcome, list[str]]:
    """Run a pipeline with the local engine, and return what it did, and why it failed."""
    limit = str(settings.seconds)
    words = ("run", compiled, "--env", "local", "--json", "--no-cache", "--timeout", limit)
    too_late = Outcome.UNDECIDED, [f"it did not end within {limit} seconds"]
    try:
        ran = kfgcp(settings, *words, *params)
    except subprocess.TimeoutExpired:
        return too_late
    if ran.returncode == 0:
        return Outcome.COMPLETED, []
    if ran.returncode == RUN_TIMEOUT:
        return too_late
    if ran.returncode != RUN_FAILED:
        return classify_refusal(ran.stderr)
    run = json.loads(ran.stdout)
    return classify_tasks(run["tasks"])


def classify_refusal(message: str) -> tuple[Outcome, list[str]]:
    """Return the outcome of a run that did not start."""
    lines = [line for line in message.splitlines() if line.startswith("error: ")]
    reason = lines[-1].removeprefix("error: ") if lines else message.strip()
    outcome = Outcome.UNDECIDED if LACKING.search(reason) else Outcome.REFUSED
    return outcome, [reason]


def classify_tasks(tasks: Sequence[Document]) -> tuple[Outcome, list[str]]:
    """Return the outcome of a run that failed, and the messages of its failed tasks.

    One task that the engine refused makes the whole run refused. A group has the message of the
    task in it, so only tasks count that run something, unless no such task failed.
    """
    failed = [task for task in tasks if task["state"] == "FAILED" and task.get("error")]
    own = [task for task in failed if task["kind"] in ("container", "importer")] or failed
    outcomes = [classify_task(task) for task in own]
    reasons = [f"{task['path']}: {task['error']['message']}" for task in own]
    for outcome in (Outcome.REFUSED, Outcome.UNDECIDED):
        if outcome in outcomes:
            return outcome, reasons
    # A run that failed without a failed task cannot be explained by a program.
    return (Outcome.PROGRAM_FAILED if own else Outcome.REFUSED), reasons


def classify_task(task: Document) -> Outcome:
    """Return why a task failed."""
    error = task["error"]
    log = "\n".join(error.get("log_tail") or [])
    if LACKING.search(error["message"]) or LACKING.search(log):
        return Outcome.UNDECIDED
    if PROGRAM_ENDED.match(error["message"]):
        return Outcome.PROGRAM_FAILED
    return Outcome.REFUSED


def kfgcp(settings: Settings, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in the folder, and return what it printed."""
    return subprocess.run(
        [KFGCP] + [str(word) for word in words],
        cwd=settings.folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=settings.seconds + EXTRA_SECONDS,
    )


def report(verdicts: Sequence[Verdict], without_pipeline: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the table, and of what must be looked at."""
    counts = Counter((verdict.runs, verdict.outcome) for verdict in verdicts)
    yield f"{machine()}: {len(verdicts)} pipelines, {len(without_pipeline)} files without one"
    yield ""
    yield "| the engine | check: runs | check: does not run |"
    yield "| --- | --- | --- |"
    for outcome in Outcome:
        yield f"| {outcome} | {counts[True, outcome]} | {counts[False, outcome]} |"
    yield ""
    decided = [verdict for verdict in verdicts if verdict.outcome is not Outcome.UNDECIDED]
    false_runs = sum(verdict.is_false_run for verdict in verdicts)
    false_alarms = sum(verdict.is_false_alarm for verdict in verdicts)
    yield f"decided: {len(decided)}, false 'runs': {false_runs}, false alarms: {false_alarms}"
    rules = Counter(line.partition(":")[0] for verdict in verdicts for line in verdict.warnings)
    warnings = ", ".join(f"{rule} {count}" for rule, count in sorted(rules.items()))
    yield f"warnings: {rules.total()} ({warnings})"
    for verdict in verdicts:
        if verdict.errors or verdict.outcome is not Outcome.COMPLETED:
            word = "runs" if verdict.runs else "does not run"
            yield ""
            yield f"{verdict.name}: check: {word}; engine: {verdict.outcome}"
            yield from (f"  check:  {line}" for line in verdict.errors)
            yield from (f"  engine: {line}" for line in verdict.reasons)


if __name__ == "__main__":
    main()
