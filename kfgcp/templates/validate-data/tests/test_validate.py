"""Tests of the pipeline. `make test` runs them from the folder of kfgcp.toml."""

import json

import pytest

from kfgcp.testing import returns, run, run_component


@pytest.fixture
def checked(tmp_path):
    """Return replacements for the tasks before the decision."""
    file = tmp_path / "file"
    file.write_text(json.dumps({"violations": [{"column": "mean_area"}, {"column": "diagnosis"}]}))

    def replacements(valid):
        outputs = {"violations": file, "used_schema": file, "report": file, "valid": valid}
        return {
            "ingest-table": returns(table=file),
            "validate-table": returns(**outputs),
            "profile-table": returns(profile=file, report=file),
        }

    return replacements


def test_a_table_that_fits_is_not_refused(checked):
    result = run("validate", checked(True))

    assert result.ok
    assert result.ran("profile-table")
    assert result.skipped("refuse")


def test_a_table_that_does_not_fit_fails_the_run(checked):
    result = run("validate", checked(False))

    assert result.failed("refuse")
    assert result.error == "ValueError: 2 checks fail, in these columns: diagnosis, mean_area"


def test_the_columns_are_named(tmp_path):
    file = tmp_path / "violations.json"
    file.write_text(json.dumps({"violations": [{"column": "mean_area"}]}))

    with pytest.raises(ValueError, match="1 checks fail, in these columns: mean_area"):
        run_component("pipelines/validate.py:refuse", violations=file)


def test_the_data_of_this_project_fits():
    result = run("validate", smoke=True)

    assert result.ok
    assert result.skipped("profile-table")
    assert result.outputs == {"Output": True}


def test_a_wrong_value_is_found(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(
        "diagnosis,mean_radius,mean_texture,mean_area,mean_smoothness\n"
        "benign,9.0,12.4,269.4,0.1\n"
        "unknown,9.0,12.4,-1.0,0.1\n"
    )

    result = run("validate", params={"data": str(table)})

    assert "diagnosis, mean_area" in result.error
