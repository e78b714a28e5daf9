"""Backends of other distributions: entry points that are found, and those that are refused with a
clear error."""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kfgcp
from kfgcp.backends import registry
from kfgcp.backends.base import RunRef, SupportsLogs, SupportsRetry, capability
from kfgcp.backends.mirror import Mirror
from kfgcp.backends.registry import load_project, open_backend, plugin_of, plugin_problems
from kfgcp.errors import BackendError, ConfigError, NotFound

TOY = '[env.toy]\nbackend = "toy"\nfolder = "x"\n'
MODULE = """
from dataclasses import dataclass
from kfgcp.backends.plugin import BackendPlugin
from kfgcp.settings import BackendSettings

@dataclass(frozen=True, kw_only=True)
class ToySettings(BackendSettings):
    folder: str
    speed: int = 1

class Toy:
    pace = None
    def __init__(self, env): self.env = env
    def notes(self, request): return []
    def submit(self, request): raise NotImplementedError
    def get(self, ref): raise NotImplementedError
    def list(self, run_filter, page=None, size=100): raise NotImplementedError
    def cancel(self, ref): raise NotImplementedError

BACKEND = BackendPlugin(settings=ToySettings, open=lambda project, env, store: Toy(env))
"""
Install = Callable[..., None]


@pytest.fixture(autouse=True)
def _forget_plugins() -> Iterator[None]:
    _forget()
    yield
    _forget()


def _forget() -> None:
    registry.plugin_of.cache_clear()
    registry.installed_entry_points.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with one backend on the path, as an installer lays it out."""

    def put(
        module: str = MODULE,
        *,
        name: str = "kfgcp-toy",
        backend: str = "toy",
        attribute: str = "BACKEND",
    ) -> None:
        folder = tmp_path / f"site-{name}"
        metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir(parents=True)
        package = f"toy_{len(list(tmp_path.iterdir()))}_{abs(hash(str(tmp_path)))}"
        (folder / f"{package}.py").write_text(textwrap.dedent(module))
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(
            f"[kfgcp.backends]\n{backend} = {package}:{attribute}\n"
        )
        monkeypatch.syspath_prepend(str(folder))

    return put


@pytest.fixture
def project_of(tmp_path: Path) -> Callable[[str], kfgcp.Project]:
    def load(text: str) -> kfgcp.Project:
        (tmp_path / "kfgcp.toml").write_text(text)
        return load_project(tmp_path, {})

    return load


def test_a_backend_of_another_distribution(
    install: Install, project_of: Callable[[str], kfgcp.Project]
) -> None:
    install()

    project = project_of(TOY + "speed = 3\n")
    env = project.env("toy")

    assert (env.get("folder"), env.get("speed")) == ("x", 3)
    assert open_backend(project, env).env is env  # type: ignore[attr-defined]
    assert list(plugin_problems()) == []


def test_its_keys_are_checked(install: Install, project_of: Callable[[str], kfgcp.Project]) -> None:
    install()

    project = project_of('[env.toy]\nbackend = "toy"\n[env.other]\nbackend = "toy"\nfolder = 1\n')

    with pytest.raises(
        ConfigError, match="Environment 'toy' has no folder, which the backend 'toy' needs"
    ):
        open_backend(project, project.env("toy"))
    with pytest.raises(
        ConfigError, match=r"kfgcp\.toml \[env\.other\]: folder must be a text, not 1"
    ):
        project.env("other")


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (
            "import a_module_that_is_not_there",
            "ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
        ),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise RuntimeError('no\\nlicence')", "RuntimeError: no licence"),
        (
            "from __future__ import annotations\nimport json\n"
            + MODULE.replace("speed: int = 1", "speed: json.No = 1"),
            "AttributeError: module 'json' has no attribute 'No'",
        ),
        ("BACKEND = object()", "BACKEND is not a kfgcp.backends.plugin.BackendPlugin"),
        ("", "AttributeError: module"),
        (
            MODULE.replace("settings=ToySettings", "settings=dict"),
            "its settings are not a subclass of",
        ),
        (
            MODULE.replace("speed: int = 1", "speed: float = 1.0"),
            "the key speed has the type <class 'float'>",
        ),
        (MODULE.replace("speed: int = 1", "labels: str = ''"), "it declares the key labels"),
        (MODULE.replace("speed: int = 1", "backend: str = ''"), "it declares the key backend"),
        (
            MODULE.replace("open=lambda project, env, store: Toy(env)", "open=None"),
            "it must have exactly one of the functions `service` and `open`",
        ),
    ],
)
def test_a_broken_distribution_is_named_and_others_work(
    install: Install, project_of: Callable[[str], kfgcp.Project], module: str, problem: str
) -> None:
    install(module)

    project = project_of(TOY)

    with pytest.raises(ConfigError) as caught:
        project.env("toy")
    assert caught.value.message.startswith("The backend 'toy' of kfgcp-toy 1.0 cannot be used: ")
    assert problem in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is project.invalid_environments["toy"].__cause__
    assert project.env("local").backend == "local"
    assert list(plugin_problems()) == [caught.value.message]


def test_a_backend_without_a_method_is_named(
    install: Install, project_of: Callable[[str], kfgcp.Project]
) -> None:
    install(MODULE.replace("def cancel", "def stop"))

    project = project_of(TOY)

    with pytest.raises(ConfigError, match=r"The backend 'toy' of kfgcp-toy 1\.0 has no cancel"):
        open_backend(project, project.env("toy"))


VALIDATE = """speed: int = 1
    def validate(self, where):
        raise ValueError(where)
"""
REQUIRED = """speed: int = 1
    @classmethod
    def required(cls, settings):
        raise KeyError("speed")
"""


@pytest.mark.parametrize(
    ("method", "problem"),
    [(VALIDATE, "ValueError: kfgcp.toml [env.toy]."), (REQUIRED, "KeyError: 'speed'.")],
)
def test_checks_of_keys_that_fail_are_an_error_of_their_environment_only(
    install: Install, project_of: Callable[[str], kfgcp.Project], method: str, problem: str
) -> None:
    install(MODULE.replace("speed: int = 1", method))

    project = project_of(TOY)

    with pytest.raises(ConfigError) as caught:
        project.env("toy")
    assert caught.value.message == f"The backend 'toy' cannot check kfgcp.toml [env.toy]: {problem}"
    assert isinstance(caught.value.__cause__, (ValueError, KeyError))


@pytest.mark.parametrize(
    "module",
    [
        MODULE.replace("Toy(env))", "int('x'))"),
        MODULE.replace("Toy(env))", "exit(3))"),
        MODULE.replace("pace = None", "pace = property(lambda self: int('x'))"),
    ],
)
def test_a_backend_that_fails_while_it_is_opened_is_named(
    install: Install, project_of: Callable[[str], kfgcp.Project], module: str
) -> None:
    install(module)

    project = project_of(TOY)

    with pytest.raises(
        ConfigError, match=r"The backend 'toy' of kfgcp-toy 1\.0 cannot be opened: [A-Z]\w+: "
    ):
        open_backend(project, project.env("toy"))


def test_doctor_names_a_backend_whose_checks_fail(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(MODULE.replace("Toy(env))", "Toy(env), checks=lambda *arguments: int('x'))"))
    (tmp_path / "kfgcp.toml").write_text(TOY)
    monkeypatch.chdir(tmp_path)

    findings = list(kfgcp.doctor("toy"))

    assert [(finding.check, finding.ok) for finding in findings] == [("config", False)]
    assert findings[0].detail.startswith(
        "The backend 'toy' of kfgcp-toy 1.0 cannot be checked: ValueError: "
    )


def test_distributions_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[str] = []

    def entry_points(*, group: str) -> tuple[()]:
        searches.append(group)
        return ()

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)

    assert [registry.runs_here("removed") for _ in range(3)] == [False, False, False]
    assert searches == ["kfgcp.backends"]


def test_a_distribution_cannot_take_the_name_of_our_own(install: Install) -> None:
    install(backend="vertex")

    assert plugin_of("vertex").settings.__module__ == "kfgcp.backends.vertex.settings"
    assert list(plugin_problems()) == [
        "kfgcp does not use the backend 'vertex' of kfgcp-toy 1.0, because kfgcp itself has a"
        " backend with this name."
    ]


def test_two_distributions_with_the_same_backend(
    install: Install, project_of: Callable[[str], kfgcp.Project]
) -> None:
    install()
    install(name="kfgcp-other-toy")

    with pytest.raises(ConfigError) as caught:
        project_of(TOY).env("toy")
    assert sorted(caught.value.message.partition(": ")[2].rstrip(".").split(", ")) == [
        "kfgcp-other-toy 1.0",
        "kfgcp-toy 1.0",
    ]


def test_an_unknown_backend_names_those_that_are_installed(
    install: Install, project_of: Callable[[str], kfgcp.Project]
) -> None:
    install()

    with pytest.raises(ConfigError) as caught:
        project_of('[env.x]\nbackend = "airflow"\n').env("x")
    assert caught.value.message == "kfgcp.toml [env.x] has the unknown backend 'airflow'."
    assert caught.value.hint == "backend is one of: local, vertex, kubeflow, toy."


def test_doctor_reports_a_broken_distribution_and_continues(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("raise RuntimeError('no licence')")
    monkeypatch.chdir(tmp_path)

    findings = {finding.check: finding for finding in kfgcp.doctor("local")}

    assert findings["plug-ins"].ok is None
    assert "kfgcp-toy 1.0" in findings["plug-ins"].detail
    assert findings["python"].ok


def test_a_backend_that_records_its_runs_by_itself_needs_no_refresh(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    (tmp_path / "kfgcp.toml").write_text(TOY)
    monkeypatch.chdir(tmp_path)

    assert list(kfgcp.list()) == []
    assert list(kfgcp.list(env="toy")) == []
    with pytest.raises(NotFound, match="There is no run 'abcdefgh0123'"):
        kfgcp.show("abcdefgh0123")


SERVICE = """
from dataclasses import dataclass
from kfgcp.backends.plugin import BackendPlugin
from kfgcp.backends.service import ServiceFacts
from kfgcp.errors import NotFound
from kfgcp.settings import BackendSettings

class Service:
    facts = ServiceFacts()
    place = "toy/"
    def notes(self, request): return []
    def create(self, request): raise NotImplementedError
    def fetch(self, backend_ref): return {}["answer"]
    def changed_since(self, since): yield from ()
    def created_between(self, since, until=None):
        yield from ()
        raise ValueError("no\\nluck")
    def newest(self, run_filter, limit): return None
    def explain(self, run, backend_ref): return run
    def cancel(self, backend_ref): return True
    def delete(self, backend_ref): raise SystemExit(3)
    def retry(self, backend_ref): raise NotFound("gone")

BACKEND = BackendPlugin(settings=BackendSettings, service=lambda project, env, records: Service())
"""


def test_unexpected_errors_of_a_service_name_its_distribution(
    install: Install, project_of: Callable[[str], kfgcp.Project]
) -> None:
    install(SERVICE)
    project = project_of('[env.toy]\nbackend = "toy"\n')
    backend = open_backend(project, project.env("toy"))
    ref = RunRef("toy", "abcdefgh0123")
    assert isinstance(backend, Mirror)

    with pytest.raises(BackendError) as of_method:
        backend.get(ref)
    with pytest.raises(BackendError) as of_generator:
        backend.refresh()
    retryable = capability(backend, SupportsRetry)
    assert retryable is not None
    with pytest.raises(NotFound, match="gone"):
        retryable.retry(ref)

    assert of_method.value.message == (
        "The backend 'toy' of kfgcp-toy 1.0 failed in fetch: KeyError: 'answer'."
    )
    assert isinstance(of_method.value.__cause__, KeyError)
    assert of_generator.value.message == (
        "The backend 'toy' of kfgcp-toy 1.0 failed in created_between: ValueError: no luck."
    )
    assert capability(backend, SupportsLogs) is None


def test_unexpected_errors_of_a_backend_name_its_distribution(
    install: Install,
    project_of: Callable[[str], kfgcp.Project],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(MODULE)
    project = project_of(TOY)
    backend = open_backend(project, project.env("toy"))

    with pytest.raises(BackendError, match=r"of kfgcp-toy 1\.0 failed in get: NotImplemented"):
        backend.get(RunRef("toy", "abcdefgh0123"))

    monkeypatch.setenv("KFGCP_DEBUG", "1")
    with pytest.raises(NotImplementedError):
        backend.get(RunRef("toy", "abcdefgh0123"))
