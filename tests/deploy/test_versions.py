"""Push versions of pipelines, name them, run them and compare them, with every registry."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kfgcp import testing
from kfgcp.deploy.versions.names import check_tag
from kfgcp.deploy.versions.push import UNCHANGED, UPLOADED
from kfgcp.errors import Unsupported, UsageError
from kfgcp.spec.load import load
from kfgcp.workspace import Workspace
from version_registries import REGISTRIES, Registry

TEXT = """
pipelineInfo: {name: greet}
schemaVersion: 2.1.0
sdkVersion: kfp-2.14.0
root:
  dag:
    tasks:
      say:
        componentRef: {name: comp-say}
        taskInfo: {name: say}
components:
  comp-say: {executorLabel: exec-say}
deploymentSpec:
  executors:
    exec-say:
      container:
        image: python:3.12
        command: [echo, hello]
"""


@pytest.fixture(params=sorted(REGISTRIES))
def registry(request: pytest.FixtureRequest, home: Path) -> Iterator[Registry]:
    """A registry, whose project is the current folder."""
    with REGISTRIES[request.param](home) as ready:
        yield ready


@pytest.fixture
def workspace(registry: Registry) -> Iterator[Workspace]:
    """The project of the registry."""
    with Workspace.open() as opened:
        yield opened


@pytest.fixture
def first(home: Path) -> Path:
    """The file of a pipeline."""
    file = home / "first.yaml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def second(home: Path) -> Path:
    """The file of the same pipeline, which was edited."""
    file = home / "second.yaml"
    file.write_text(TEXT.replace("hello", "good evening"))
    return file


def test_a_pushed_pipeline_is_in_the_registry(
    workspace: Workspace, registry: Registry, first: Path
) -> None:
    pushed = workspace.push(str(first), registry.env, ["stable", "v1"])

    assert (pushed.pipeline, pushed.action) == ("greet", UPLOADED)
    assert pushed.version == load(first).version
    assert pushed.new_tags == ("stable", "v1")
    [entry] = workspace.versions.list("greet", registry.env)
    assert entry.has_version(pushed.version)
    assert entry.tags == ("stable", "v1")
    assert pushed.entry.project == workspace.project.name
    assert entry.ref == pushed.entry.ref
    assert workspace.versions.list(env=registry.env) == [entry]


def test_a_version_has_all_digits_that_the_registry_keeps(
    workspace: Workspace, registry: Registry, first: Path, request: pytest.FixtureRequest
) -> None:
    pushed = workspace.push(str(first), registry.env, ["v1"])

    entry = workspace.versions.get("greet@v1", registry.env)

    is_kubeflow = request.node.callspec.params["registry"] == "kubeflow"
    digits = 32 if is_kubeflow else 64
    assert entry.version.removeprefix("sha256:") == pushed.version.removeprefix("sha256:")[:digits]


def test_the_same_content_makes_no_write(
    workspace: Workspace, registry: Registry, first: Path
) -> None:
    workspace.push(str(first), registry.env, ["v1"])
    before = registry.writes()

    again = workspace.push(str(first), registry.env, ["v1"])

    assert (again.action, again.new_tags) == (UNCHANGED, ())
    assert registry.writes() == before


def test_another_sdk_and_another_order_of_keys_are_the_same_content(
    workspace: Workspace, registry: Registry, first: Path, home: Path
) -> None:
    workspace.push(str(first), registry.env)
    before = registry.writes()
    other = home / "other.yaml"
    info = "pipelineInfo: {name: greet}\n"
    other.write_text(TEXT.replace(info, "").replace("kfp-2.14.0", "kfp-2.17.0") + info)

    again = workspace.push(str(other), registry.env)

    assert again.action == UNCHANGED
    assert registry.writes() == before


def test_an_edited_pipeline_is_a_new_version(
    workspace: Workspace, registry: Registry, first: Path, second: Path
) -> None:
    before = workspace.push(str(first), registry.env)
    registry.let_time_pass()
    after = workspace.push(str(second), registry.env)

    assert after.version != before.version
    refs = [entry.ref for entry in workspace.versions.list("greet", registry.env)]
    assert refs == [after.entry.ref, before.entry.ref]


def test_a_name_finds_a_version_by_its_tag_its_digest_or_its_age(
    workspace: Workspace, registry: Registry, first: Path, second: Path
) -> None:
    old = workspace.push(str(first), registry.env, ["v1"])
    registry.let_time_pass()
    new = workspace.push(str(second), registry.env, ["v2"])

    def found_ref(value: str) -> str:
        return workspace.versions.get(f"greet@{value}", registry.env).ref

    assert found_ref("v1") == old.entry.ref
    assert found_ref(old.version) == old.entry.ref
    assert found_ref(old.version[: len("sha256:") + 8]) == old.entry.ref
    assert found_ref("latest") == new.entry.ref


def test_a_loaded_version_has_the_pipeline_that_was_pushed(
    workspace: Workspace, registry: Registry, first: Path
) -> None:
    pushed = workspace.push(str(first), registry.env, ["v1"])

    spec = workspace.load_pipeline("greet@v1", registry.env)

    assert spec.version == pushed.version
    assert spec.pipeline_spec == load(first).pipeline_spec
    assert spec.registered is not None
    assert spec.registered.ref == pushed.entry.ref
    assert spec.registered.version == pushed.version
    assert workspace.compile("greet@v1", env=registry.env).version == pushed.version


@pytest.mark.parametrize("place", [9, 13, 33, 64])
def test_a_wrong_digit_at_any_place_is_noticed(
    workspace: Workspace, registry: Registry, first: Path, place: int
) -> None:
    """Artifact Registry lists 12 digits of a version, and Kubeflow 32."""
    pushed = workspace.push(str(first), registry.env)
    digits = list(pushed.version)
    index = len("sha256:") + place - 1
    digits[index] = "1" if digits[index] == "0" else "0"
    name = f"greet@{''.join(digits)}"

    for use in (workspace.versions.get, workspace.load_pipeline):
        with pytest.raises(UsageError, match="greet has no version sha256:"):
            use(name, registry.env)


def test_a_tag_moves_to_another_version(
    workspace: Workspace, registry: Registry, first: Path, second: Path
) -> None:
    workspace.push(str(first), registry.env, ["stable"])
    registry.let_time_pass()
    pushed = workspace.push(str(second), registry.env, ["stable"])

    assert pushed.new_tags == ("stable",)
    tags = [entry.tags for entry in workspace.versions.list("greet", registry.env)]
    assert tags == [("stable",), ()]


def test_a_tag_of_a_release_never_moves(
    workspace: Workspace, registry: Registry, first: Path, second: Path
) -> None:
    old = workspace.push(str(first), registry.env, ["v1.4.0"])
    new_version = load(second).version
    before = registry.writes()

    with pytest.raises(UsageError) as caught:
        workspace.push(str(second), registry.env, ["v1.4.0"])

    assert caught.value.message == (
        f"The tag v1.4.0 of greet points to {old.version[:19]} and cannot move to"
        f" {new_version[:19]}."
    )
    assert registry.writes() == before
    registry.let_time_pass()
    workspace.push(str(second), registry.env)
    with pytest.raises(UsageError, match="cannot move"):
        workspace.versions.tag("greet@latest", "v1.4.0", registry.env)
    with pytest.raises(UsageError, match="cannot be removed"):
        workspace.versions.tag("greet@v1.4.0", "v1.4.0", registry.env, remove=True)


def test_a_tag_is_set_and_removed(workspace: Workspace, registry: Registry, first: Path) -> None:
    workspace.push(str(first), registry.env)

    tagged = workspace.versions.tag("greet@latest", "stable", registry.env)
    assert tagged.tags == ("stable",)
    before = registry.writes()
    assert workspace.versions.tag("greet@latest", "stable", registry.env).tags == ("stable",)
    assert registry.writes() == before

    with pytest.raises(UsageError, match="does not have the tag 'stabel'") as caught:
        workspace.versions.tag("greet@stable", "stabel", registry.env, remove=True)
    assert caught.value.hint == "Did you mean 'stable'? Its tags: stable."

    removed = workspace.versions.tag("greet@stable", "stable", registry.env, remove=True)
    assert removed.tags == ()
    assert workspace.versions.get("greet@latest", registry.env).tags == ()


@pytest.mark.parametrize(
    "tag",
    [
        *("latest", "k-0123456789ab", "t-1", "use-dev", "0123456789ab", "deadbeef"),
        *("sha256:0123abcd", "sha256-0123", "", "V1", "a b", "../x", "a/b", "a" * 54, "é", "1.4"),
    ],
)
def test_a_tag_that_is_not_allowed_writes_nothing(
    workspace: Workspace, registry: Registry, first: Path, tag: str
) -> None:
    with pytest.raises(UsageError) as caught:
        workspace.push(str(first), registry.env, [tag])

    assert "\n" not in caught.value.message
    assert workspace.versions.list("greet", registry.env) == []


@pytest.mark.parametrize("tag", ["sha256:33306d9e", "3" * 60])
def test_the_example_for_a_tag_that_looks_like_a_version_is_a_tag(tag: str) -> None:
    with pytest.raises(UsageError, match="looks like a version") as caught:
        check_tag(tag)

    check_tag(caught.value.hint.rpartition(" ")[2])


def test_a_missing_name_is_one_line_that_names_similar_ones(
    workspace: Workspace, registry: Registry, first: Path
) -> None:
    pushed = workspace.push(str(first), registry.env, ["stable"])
    other_digits = "sha256:" + ("0" if pushed.version[7] != "0" else "1") * 8

    errors = {}
    for name in ("greet@stabel", "gret@stable", f"greet@{other_digits}"):
        with pytest.raises(UsageError) as caught:
            workspace.load_pipeline(name, registry.env)
        assert "\n" not in caught.value.message
        errors[name] = f"{caught.value.message} {caught.value.hint}"

    assert "no tag 'stabel'" in errors["greet@stabel"]
    assert "Did you mean 'stable'?" in errors["greet@stabel"]
    assert "Did you mean 'greet'?" in errors["gret@stable"]
    assert pushed.version[:19] in errors[f"greet@{other_digits}"]


def test_versions_are_compared(
    workspace: Workspace, registry: Registry, first: Path, second: Path
) -> None:
    workspace.push(str(first), registry.env, ["v1"])
    registry.let_time_pass()
    workspace.push(str(second), registry.env, ["v2"])

    [change] = workspace.versions.diff("greet@v1", "greet@v2", registry.env).changes
    assert "good evening" in str(change.to_dict())
    assert workspace.diff(str(first), "greet@v1", registry.env).changes == ()


def test_a_downloaded_version_is_the_text_that_was_pushed(
    workspace: Workspace, registry: Registry, first: Path, home: Path
) -> None:
    pushed = workspace.push(str(first), registry.env)

    file = workspace.versions.download("greet@latest", env=registry.env)

    assert file.name == f"greet-{pushed.version[7:19]}.yaml"
    assert load(file).version == pushed.version
    again = workspace.push(str(file), registry.env)
    assert again.action == UNCHANGED


def test_a_version_is_not_pushed_again(
    workspace: Workspace, registry: Registry, first: Path
) -> None:
    workspace.push(str(first), registry.env, ["v1"])

    with pytest.raises(UsageError, match="greet@v1 comes from a registry"):
        workspace.push("greet@v1", registry.env)


def test_a_version_runs_only_where_its_registry_is(
    workspace: Workspace, registry: Registry, first: Path
) -> None:
    workspace.push(str(first), registry.env, ["v1"])
    spec = workspace.load_pipeline("greet@v1", registry.env)
    assert spec.registered is not None
    foreign = replace(spec, registered=replace(spec.registered, env="other"))

    with pytest.raises(UsageError, match="comes from the registry of 'other'"):
        workspace.submit(foreign, env=registry.env)


def test_a_server_without_tags_gets_no_version_when_a_tag_is_given(home: Path, first: Path) -> None:
    with testing.kubeflow(mode="instant", version="2.14.3") as server:
        (home / "kfgcp.toml").write_text(server.toml("gke"))
        with Workspace.open() as workspace:
            with pytest.raises(Unsupported, match="has no tags"):
                workspace.push(str(first), "gke", ["main"])

            assert server.requests.select("POST") == []
            assert workspace.push(str(first), "gke").action == UPLOADED
