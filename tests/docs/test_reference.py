"""The generated reference is the one that the code would generate now."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from kfgcp.options import option_fields

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def _generator(name: str = "generate") -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"reference_{name}", REFERENCE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_reference_is_up_to_date() -> None:
    written = (REFERENCE / "cli.md").read_text(encoding="utf-8")

    assert written == _generator().render(), "write it again: make reference"


def test_the_reference_of_rules_is_up_to_date() -> None:
    generator = _generator("generate_check_rules")

    assert generator.FILE.read_text(encoding="utf-8") == generator.render(), (
        "write it again: make reference"
    )


def test_the_guide_to_checks_shows_real_output() -> None:
    generator = _generator("generate_check_guide")

    assert generator.FILE.read_text(encoding="utf-8") == generator.render(), (
        "write it again: make reference"
    )


def test_the_pages_of_the_components_are_up_to_date() -> None:
    for file, text in _generator("generate_components").render_all().items():
        assert file.read_text(encoding="utf-8") == text, f"{file}: write it again: make reference"


def test_every_rule_is_in_the_reference_once() -> None:
    from kfgcp.backends.registry import BUILT_IN
    from kfgcp.tracking.check import rules_for

    page = (REFERENCE / "rules.md").read_text(encoding="utf-8")
    ids = {rule.id for backend in BUILT_IN for rule in rules_for(backend)}

    assert len(ids) >= 60
    assert [rule for rule in sorted(ids) if page.count(f"\n| {rule} | ") != 1] == []


def test_the_keywords_that_type_checkers_read_are_the_fields_of_run_options() -> None:
    generator = _generator("generate_options")

    assert generator.FILE.read_text(encoding="utf-8") == generator.render(), (
        "write it again: make reference"
    )


def test_the_names_and_the_table_that_follow_from_the_verbs_are_up_to_date() -> None:
    for file, text in _generator("generate_public_names").render().items():
        assert file.read_text(encoding="utf-8") == text, f"{file}: write it again: make reference"


def test_it_has_a_section_with_an_example_for_every_verb() -> None:
    from kfgcp.cli.verbs import verb_names

    text = _generator().render()

    for verb in verb_names():
        assert (
            f"Example: kfgcp {verb}"
            in text.partition(f"## kfgcp {verb}\n")[2].partition("\n## ")[0]
        ), verb


def test_the_table_of_backends_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REFERENCE)  # one generator uses another
    generator = _generator("generate_backends")
    page = (REFERENCE / "backends.md").read_text(encoding="utf-8")
    servers = (
        generator.RECORDED
        + generator.recordings_table()
        + generator.BOTTOM
        + generator.features_table()
        + generator.DIFFERENT
        + generator.differences_table()
    )
    assert page.endswith(servers), "write it again: make docs"

    assert generator.capabilities_table() in page, "write it again: make docs"
    contract = page.partition(generator.RECORDED)[0]
    features = [
        line.removeprefix("| ").split(" | ") for line in contract.splitlines() if "::" in line
    ]
    assert [
        (feature, test.strip("`| ")) for feature, *_, test in features
    ] == generator.list_features(), "write it again: make docs"
    cells = [cell for _, *cells, _ in features for cell in cells]
    assert not {"no", "not run"} & set(cells)
    assert all(cell == "yes" or cell.startswith(("refused: ", "there is none")) for cell in cells)


def test_recordings_that_prove_something_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REFERENCE)
    generator = _generator("generate_backends")
    recorded = REFERENCE.parents[1] / "tests" / "recorded"

    for feature, names, test in generator.list_recorded():
        assert names, test
        for name in names:
            assert (recorded / generator.recording_path(name)).exists(), (
                f"{feature}: {name} ({test})"
            )


def test_every_backend_has_what_its_features_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REFERENCE)
    table = _generator("generate_backends").capabilities_table()

    rows = {
        row.split(" | ")[0]: [cell.strip() for cell in row.strip("|").split("|")[2:]]
        for row in table.splitlines()
    }
    assert rows["| protocol"] == ["`local`", "`vertex`", "`kubeflow`"]
    assert (
        rows["| `Backend`"]
        == rows["| `SupportsLogs`"]
        == rows["| `SupportsDelete`"]
        == ["yes", "yes", "yes"]
    )
    assert rows["| `SupportsForeground`"] == ["yes", "", ""], "runs in the calling process"
    assert rows["| `SupportsRefresh`"] == ["", "yes", "yes"]
    assert rows["| `SupportsNative`"] == ["", "yes", "yes"]
    assert rows["| `SupportsRetry`"] == ["", "", "yes"]


@pytest.mark.parametrize("guide", ["vertex.md", "gke.md"])
def test_the_guides_of_remote_backends_name_all_options_of_local_runs(guide: str) -> None:
    text = (REFERENCE.parent / "guides" / guide).read_text(encoding="utf-8")

    assert [
        field.flag
        for field in option_fields()
        if field.option.local_only and f"`{field.flag}`" not in text
    ] == []
