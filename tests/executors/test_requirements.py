"""Which packages a component needs that this environment lacks."""

from importlib import metadata

import pytest

from kfgcp.engine.requirements import missing_requirements
from kfgcp.spec.graph import Container
from kfgcp.spec.lightweight import Lightweight, recognise

PYYAML = metadata.version("PyYAML")


def function(*requirements: str, options: tuple[str, ...] = ()) -> Lightweight:
    return Lightweight("f", "def f(): pass", requirements, options)


@pytest.mark.parametrize(
    "requirements",
    [
        (),
        ("kfp==2.17.0", "typing-extensions>=3.7.4,<5; python_version<'3.9'"),
        ("kfp==2.17.0", 'typing-extensions>=3.7.4,<5; python_version<"3.9"'),
        ("kfp==2.0.1",),
        ("PyYAML",),
        ("pyyaml>=5,<100",),
        (f"PyYAML=={PYYAML}",),
        ("nothing-like-it; python_version < '3'",),
        ("pytest-xdist",),
    ],
)
def test_what_is_installed_needs_no_environment(requirements: tuple[str, ...]) -> None:
    assert missing_requirements(function(*requirements)) is None


@pytest.mark.parametrize(
    "requirement",
    [
        "no-such-package-anywhere",
        "PyYAML<1",
        "PyYAML==0.0.1",
        "git+https://example.invalid/x.git",
        "./local-folder",
        "PyYAML @ file:///somewhere",
        "nothing-like-it; python_version >= '3'",
        "pytest-xdist[psutil]>=999",
    ],
)
def test_what_is_not_installed_needs_one(requirement: str) -> None:
    requirements = missing_requirements(function(requirement, "kfp==2.17.0"))
    assert requirements is not None
    assert requirements.packages == (requirement,)
    assert requirements.kfp == f"kfp=={metadata.version('kfp')}"


def test_strict_takes_the_pin_of_the_compiled_command() -> None:
    requirements = missing_requirements(function("kfp==2.3.0"), strict=True)
    assert requirements is not None
    assert (requirements.packages, requirements.kfp) == ((), "kfp==2.3.0")


def test_the_key_is_that_of_the_set_and_of_where_it_comes_from() -> None:
    one, other = (
        missing_requirements(function("b-x", "a-x")),
        missing_requirements(function("a-x", "b-x")),
    )
    elsewhere = missing_requirements(
        function("a-x", "b-x", options=("--index-url https://example.invalid/simple",))
    )
    fewer = missing_requirements(function("a-x"))
    assert one and other and elsewhere and fewer  # noqa: PT018
    assert one.key == other.key
    assert len({one.key, elsewhere.key, fewer.key}) == 3


def test_requirements_and_options_are_read_from_the_compiled_shell_prelude() -> None:
    prelude = (
        '\nif ! [ -x "$(command -v pip)" ]; then\n    python3 -m ensurepip\nfi\n\n'
        "PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-warn-script-location "
        "--index-url https://example.invalid/a --extra-index-url https://example.invalid/b "
        "--trusted-host example.invalid "
        "'pandas>=2,<3' 'x[extra]==1; python_version<\"3.9\"'  &&  python3 -m pip install --quiet "
        "--no-warn-script-location 'kfp==2.17.0' '--no-deps' && \"$0\" \"$@\"\n"
    )
    script = (
        'program_path=$(mktemp -d)\nprintf "%s" "$0" > "$program_path/ephemeral_component.py"\n'
        "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main "
        '--component_module_path "$program_path/ephemeral_component.py" "$@"'
    )
    function = recognise(
        Container(
            image="python:3.11",
            command=("sh", "-c", prelude, "sh", "-ec", script, "def f():\n    pass\n"),
            args=("--executor_input", "{{$}}", "--function_to_execute", "f"),
            env={},
            resources={},
        )
    )
    assert function == Lightweight(
        function="f",
        source="def f():\n    pass\n",
        requirements=("pandas>=2,<3", 'x[extra]==1; python_version<"3.9"', "kfp==2.17.0"),
        index_options=(
            "--index-url https://example.invalid/a",
            "--extra-index-url https://example.invalid/b",
            "--trusted-host example.invalid",
        ),
    )
