"""`kfgcp diff` over files, runs and versions."""

from collections.abc import Callable
from pathlib import Path

import pytest

import kfgcp as api
from kfgcp.errors import UsageError
from kfgcp.model import Run
from kfgcp.spec.load import load
from kfgcp.store.request import StoredRequest
from kfgcp.store.store import Store
from kfgcp_command import Command

MakeRun = Callable[..., Run]

SOURCE = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def load(n: int) -> int:
    return n

@dsl.component(base_image="python:3.11")
def train(rows: int, lr: float) -> float:
    return lr

@dsl.pipeline(name="steps")
def steps(n: int = 3, lr: float = 0.5):
    rows = load(n=n)
    with dsl.If(rows.output > 1):
        train(rows=rows.output, lr=lr).set_cpu_limit("2")
"""
EDITS = {
    "return lr": "return lr * 2",
    "lr: float = 0.5)": "lr: float = 0.25)",
    "rows.output > 1": "rows.output > 10",
    'set_cpu_limit("2")': 'set_cpu_limit("4").set_env_variable("LEVEL", "debug")',
    "    rows = load(n=n)": "    load(n=9)\n    rows = load(n=n)",
}


@pytest.fixture
def files(home: Path) -> tuple[str, str]:
    """Two files of the same pipeline, the second one edited."""
    edited = SOURCE
    for old, new in EDITS.items():
        assert old in edited
        edited = edited.replace(old, new)
    (home / "a.py").write_text(SOURCE)
    (home / "b.py").write_text(edited)
    return "a.py", "b.py"


def test_differences_are_listed_task_by_task(kfgcp: Command, files: tuple[str, str]) -> None:
    result = kfgcp("diff", *files)

    assert (result.code, result.err) == (0, "")
    before, after = (load(file).version[:19] for file in files)
    assert result.out.splitlines() == [
        f"--- a.py  {before}",
        f"+++ b.py  {after}",
        "  (pipeline)",
        "    ~ parameter lr: default 0.5 → 0.25",
        "  condition-1",
        "    ~ condition: int(load-Output) > 1 → int(load-2-Output) > 10",
        "    train",
        "      ~ code",
        "        @@ -6,4 +6,4 @@",
        "",
        "         def train(rows: int, lr: float) -> float:",
        "        -    return lr",
        "        +    return lr * 2",
        "",
        "      + env LEVEL: debug",
        "      ~ resource resourceCpuLimit: 2 → 4",
        "+ load",
        "~ load-2 (was load)",
    ]


def test_the_same_pipeline_has_no_difference(
    kfgcp: Command, files: tuple[str, str], home: Path
) -> None:
    assert kfgcp("compile", "a.py", "-o", "a.yaml").code == 0

    result = kfgcp("diff", "a.py:steps", "a.yaml", "--exit-code")

    assert result.code == 0
    assert result.out.splitlines()[2:] == ["No difference."]


@pytest.mark.parametrize(
    ("option", "code"), [([], 0), (["--exit-code"], 4), (["--exit-code", "--json"], 4)]
)
def test_differences_are_an_exit_code_when_asked_for(
    kfgcp: Command, files: tuple[str, str], option: list[str], code: int
) -> None:
    assert kfgcp("diff", *files, *option).code == code


def test_as_json_it_is_what_the_function_returns(kfgcp: Command, files: tuple[str, str]) -> None:
    diff = kfgcp("diff", *files, "--json").json

    assert diff == api.diff(*files).to_dict()
    assert diff["before"] == {
        "origin": "a.py",
        "pipeline": "steps",
        "version": load("a.py").version,
    }
    assert {
        "path": "condition-1/train",
        "what": "env",
        "name": "LEVEL",
        "kind": "added",
        "before": None,
        "after": "debug",
        "diff": [],
    } in diff["changes"]


@pytest.fixture
def recorded(files: tuple[str, str], store: Store, make_run: MakeRun) -> str:
    """The version of a run of the first file, whose name is `nightly`."""
    spec = load(files[0])
    store.add_run(
        make_run("abcdef012345", name="nightly", version=spec.version),
        pipeline_spec=spec.pipeline_spec,
    )
    return spec.version


@pytest.mark.parametrize("named", ["abcdef012345", "abcd", "nightly", "latest"])
def test_a_run_stands_for_its_pipeline(kfgcp: Command, recorded: str, named: str) -> None:
    result = kfgcp("diff", named, "a.py")

    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        f"--- run abcdef012345  {recorded[:19]}",
        f"+++ a.py  {recorded[:19]}",
        "No difference.",
    ]


def test_a_version_of_a_run_is_known_by_its_first_digits(recorded: str) -> None:
    for named in (recorded, recorded[:15], recorded.removeprefix("sha256:")[:8]):
        diff = api.diff(named, "b.py")
        assert (diff.before.version, diff.before.origin) == (recorded, recorded)
        assert diff.changes == api.diff("a.py", "b.py").changes


def test_a_run_is_meant_before_a_version(recorded: str, store: Store, make_run: MakeRun) -> None:
    spec = load("b.py")
    digits = recorded.removeprefix("sha256:")[:12]
    store.add_run(make_run(digits, version=spec.version), pipeline_spec=spec.pipeline_spec)

    assert api.diff(digits, "b.py").before.version == spec.version
    assert api.diff(f"sha256:{digits}", "b.py").before.version == recorded


def test_digits_of_two_versions_are_refused(recorded: str, store: Store, make_run: MakeRun) -> None:
    spec = load("a.py").pipeline_spec
    for last in ("1", "2"):
        version = "sha256:" + "0" * 63 + last
        store.add_run(make_run(f"0000aaaa000{last}", version=version), pipeline_spec=spec)

    with pytest.raises(
        UsageError, match=r"means more than one version: sha256:0{63}1, sha256:0{63}2"
    ):
        api.diff("sha256:00000000", "a.py")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("nothing", "There is no run 'nothing'."),
        ("sha256:12", "sha256:12 is not a version."),
        ("sha256:123456789", "No run here has the version sha256:123456789."),
        ("c.py", "c.py does not exist."),
        ("a.py:other", "a.py"),
    ],
)
@pytest.mark.usefixtures("recorded")
def test_what_names_no_pipeline_is_refused(kfgcp: Command, named: str, message: str) -> None:
    result = kfgcp("diff", "a.py", named)

    assert result.code == 2
    assert result.err.startswith(f"error: {message}")


def test_a_run_whose_pipeline_is_not_known_is_refused(
    kfgcp: Command, home: Path, store: Store, make_run: MakeRun
) -> None:
    store.add_run(make_run("abcdef012345"))

    result = kfgcp("diff", "latest", "latest")

    assert result.code == 2
    assert result.err.startswith("error: The pipeline of run abcdef012345 cannot be read.")


def test_what_is_asked_of_a_cluster_counts_where_both_tell_it(
    recorded: str, store: Store, make_run: MakeRun
) -> None:
    spec = load("a.py")
    asked = {"platforms": {"kubernetes": {"pipelineConfig": {"mutexName": "one"}}}}
    for number, platform_spec in enumerate([None, asked]):
        run = make_run(f"bbbbbbbbbbb{number}", version=spec.version)
        store.add_run(
            run,
            pipeline_spec=spec.pipeline_spec,
            request=StoredRequest(platform_spec=platform_spec),
        )

    assert [change.name for change in api.diff("a.py", "bbbbbbbbbbb1").changes] == [
        "kubernetes.pipelineConfig"
    ]
    assert api.diff("a.py", "bbbbbbbbbbb0").changes == ()
    assert api.diff(recorded, "bbbbbbbbbbb1").changes == ()
