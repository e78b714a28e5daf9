"""The table [dashboard] of kfgcp.toml."""

from pathlib import Path

import pytest

from config_texts import load_text, read_error


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("/srv/*.py", "is not below the folder of kfgcp.toml."),
        ("../*.py", "is not below the folder of kfgcp.toml."),
        ("", "is not below the folder of kfgcp.toml."),
        ("a**.py", "is not a pattern of files."),
        (".", "is not a pattern of files."),
    ],
)
def test_patterns_of_pipelines_are_below_the_folder_of_the_file(
    tmp_path: Path, pattern: str, problem: str
) -> None:
    message, hint = read_error(tmp_path, f'[dashboard]\npipelines = ["*.py", "{pattern}"]\n')

    assert message == f"kfgcp.toml [dashboard]: pipelines has {pattern!r}, which {problem}"
    assert "pipelines/*.py" in hint


def test_the_table_of_the_dashboard(tmp_path: Path) -> None:
    project = load_text(
        tmp_path,
        '[dashboard]\nallow = ["*@acme.example"]\nread_only = false\nsync_seconds = 60\nsync ='
        ' ["local"]\n',
        KFGCP_DASHBOARD_READ_ONLY="true",
        KFGCP_DASHBOARD_IAP_AUDIENCE="/projects/1/apps/x",
        KFGCP_DASHBOARD_HOST_NAMES="dash.acme.example, localhost:9000",
    )

    assert {key: setting.value for key, setting in project.dashboard.items()} == {
        "allow": ["*@acme.example"],
        "read_only": True,
        "sync_seconds": 60,
        "sync": ["local"],
        "iap_audience": "/projects/1/apps/x",
        "host_names": ["dash.acme.example", "localhost:9000"],
    }
    assert project.dashboard["read_only"].origin == "environment variable KFGCP_DASHBOARD_READ_ONLY"
    assert project.dashboard["allow"].origin == "kfgcp.toml [dashboard]"
    assert load_text(tmp_path, "").dashboard == {}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("alow = []", "unknown key 'alow'.", "Did you mean 'allow'?"),
        ('allow = "x"', "allow must be a list, not 'x'.", ""),
        ("allow = [7]", "allow contains 7, which is not a text.", ""),
        ("host_names = [7]", "host_names contains 7, which is not a text.", ""),
        (
            'host_names = ["https://dash.acme.example"]',
            "host_names has 'https://dash.acme.example'",
            "without http://",
        ),
        (
            'host_names = ["*.acme.example"]',
            "host_names has '*.acme.example', which is not a host name.",
            "",
        ),
        (
            'sync = ["locl"]',
            "sync contains 'locl', but there is no such environment.",
            "Did you mean 'local'?",
        ),
        ("sync_seconds = 0", "sync_seconds must be at least 1.", ""),
        (
            'iap_keys_url = "http://a.example"',
            "plain http is allowed only for an iap_keys_url on this machine",
            "",
        ),
    ],
)
def test_wrong_values_of_the_dashboard_are_errors(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    actual_message, actual_hint = read_error(tmp_path, f"[dashboard]\n{text}\n")

    assert actual_message.startswith(f"kfgcp.toml [dashboard]: {message}")
    assert hint in actual_hint
