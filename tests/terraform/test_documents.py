"""The documents of terraform/: generated parts are up to date, and the guide names what is
there."""

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from kfgcp_command import Command
from terraform_offline.hcl import Block, parse_blocks, read_blocks

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "deploy.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs" / "guides" / "security.md").read_text(encoding="utf-8")
DEV = read_blocks(ROOT / "terraform" / "envs" / "dev")


def _blocks(text: str, language: str) -> list[str]:
    """Code of that language, also inside of lists."""
    indented_blocks = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL
    )
    return [
        re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in indented_blocks
    ]


def _named(blocks: list[Block], kind: str) -> set[str]:
    return {block.name for block in blocks if block.kind == kind}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    file = ROOT / "docs" / "reference" / "generate_terraform.py"
    spec = importlib.util.spec_from_file_location("generate_terraform", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(generator: ModuleType) -> None:
    documents = generator.documents()

    assert len(documents) == len(generator.modules()) + 2
    for file, text in documents.items():
        assert file.read_text(encoding="utf-8") == text, f"{file}: write it again: make docs"


def test_every_module_says_what_only_a_live_project_can_show(generator: ModuleType) -> None:
    table = generator.proofs().splitlines()[2:]

    assert len(table) == len(generator.modules())
    for row in table:
        _, module, proven, live, _ = (cell.strip() for cell in re.split(r"(?<!\\)\|", row))
        assert re.match(r"\d+ runs of `terraform test`", proven), module
        assert len(live) > 20, module


def test_every_account_is_in_the_table_of_who_may_do_what() -> None:
    (roles,) = [
        block.body
        for block in read_blocks(ROOT / "terraform" / "modules" / "identities")
        if "accounts" in block.body
    ]

    for name in roles["accounts"]:
        assert f"`{'runner-TEAM' if name == 'runner' else name}`" in SECURITY, name


@pytest.mark.parametrize("text", [GUIDE, SECURITY], ids=["deploy", "security"])
def test_commands_are_read_by_the_shell(text: str) -> None:
    for block in _blocks(text, "sh"):
        syntax_check = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True)

        assert syntax_check.returncode == 0, f"{block}\n{syntax_check.stderr}"


def test_requested_outputs_are_printed() -> None:
    asked = set(re.findall(r"terraform output -raw (\w+)", GUIDE + SECURITY))

    assert asked == {
        *("docker_url", "dashboard_url", "federation_provider"),
        *("kubeflow_address", "kubeflow_cluster", "kubeflow_parameters"),
    }
    assert asked <= _named(DEV, "output")


def test_variables_that_are_set_are_there() -> None:
    variables_in_guide = [
        line
        for block in _blocks(GUIDE, "hcl")
        for line in re.findall(r"^(\w+) +=", block, re.MULTILINE)
    ]

    assert variables_in_guide
    assert set(variables_in_guide) <= _named(DEV, "variable")
    security = {
        line
        for block in _blocks(SECURITY, "hcl")
        for line in re.findall(r"^(\w+) +=", block, re.MULTILINE)
    }
    assert security == {"teams", "federation"}
    assert security <= _named(DEV, "variable")


def test_what_must_be_given_is_given_in_step_3() -> None:
    needed = {
        block.name for block in DEV if block.kind == "variable" and "default" not in block.body
    }
    step = re.split(r"^## ", GUIDE, flags=re.MULTILINE)[4]
    example = (ROOT / "terraform" / "envs" / "dev" / "terraform.tfvars.example").read_text(
        encoding="utf-8"
    )

    assert step.startswith("3. ")
    for text in (_blocks(step, "hcl")[0], example):
        assert needed <= set(re.findall(r"^(\w+) +=", text, re.MULTILINE))


def test_the_variables_of_the_guide_are_accepted(
    terraform: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """All of its blocks together, and the federation of security.md, are the variables of a test
    run of envs/dev."""
    federation = next(block for block in _blocks(SECURITY, "hcl") if block.startswith("federation"))
    variables = "\n".join([*_blocks(GUIDE, "hcl"), federation])
    copy = tmp_path / "terraform"
    subprocess.run(["cp", "-R", ROOT / "terraform", copy], check=True)
    dev = copy / "envs" / "dev"
    (file,) = dev.glob("tests/*.tftest.hcl")
    mocks = file.read_text(encoding="utf-8").partition("\nvariables {")[0]
    file.write_text(
        f'{mocks}\nvariables {{\n{variables}\n}}\n\nrun "guide" {{\n  command = plan\n}}\n'
    )

    test_run = terraform(dev, "test", "-no-color")

    assert test_run.returncode == 0, test_run.stdout + test_run.stderr
    assert 'run "guide"... pass' in test_run.stdout


def test_the_pipeline_of_the_guide_is_the_one_that_its_schedule_names(
    home: Path, kfgcp: Command
) -> None:
    assert kfgcp("init", "words").code == 0
    (schedules,) = [block for block in _blocks(GUIDE, "hcl") if block.startswith("schedules")]
    (local,) = parse_blocks(f"locals {{\n{schedules}\n}}")
    schedule = local.body["schedules"]["words-daily"]
    compiled = re.findall(r"^kfgcp compile (\S+) -o (\S+)$", GUIDE, re.MULTILINE)

    assert len(compiled) == 1
    compilation = kfgcp("compile", compiled[0][0], "-o", compiled[0][1], cwd=home / "words")

    assert compilation.code == 0, compilation.err
    spec = yaml.safe_load((home / "words" / compiled[0][1]).read_text())
    (tag,) = re.findall(r"-F tags=(\S+)", GUIDE)
    assert schedule["template"] == f"{spec['pipelineInfo']['name']}/{tag}"
    params = json.loads(schedule["params"].replace('\\"', '"'))
    assert params
    assert set(params) <= set(spec["root"]["inputDefinitions"]["parameters"])


def test_terraform_forgets_its_state_before_it_destroys() -> None:
    """And it never empties that bucket, for then it could not write down what it has destroyed."""
    (block,) = [block for block in _blocks(GUIDE, "sh") if "terraform destroy" in block]
    (address,) = re.findall(r"terraform import ('\S+')", GUIDE)

    assert block.splitlines()[1:3] == [f"terraform state rm {address}", "terraform destroy"]
    environment_module = (ROOT / "terraform" / "modules" / "environment" / "main.tf").read_text(
        encoding="utf-8"
    )
    assert re.search(r"state +=.*keep = true", environment_module)


def test_a_block_that_reads_terraform_or_its_modules_says_where_it_runs() -> None:
    """Pasted after another part of the guide, which leaves the shell elsewhere."""
    folder = None
    for block in _blocks(GUIDE, "sh"):
        for line in block.splitlines():
            change = re.match(r"(?:.*&& )?cd (\S+)$", line)
            if change:
                folder = change[1]
            if re.match(r"terraform |export MODULE=", line):
                assert folder == "~/kfgcp/terraform/envs/dev", line
            if re.match(r"kfgcp (run|compile|list)", line):
                assert folder == "~/words", line


def test_files_that_the_guide_names_are_there() -> None:
    module = ROOT / "terraform" / "modules" / "gke-kubeflow"

    for name in set(re.findall(r"\$MODULE/([\w./-]+)", GUIDE)) | set(
        re.findall(r"`(overlay/[\w./-]+)`", GUIDE)
    ):
        assert (module / name).is_file(), name
    for name in re.findall(r"`((?:terraform|tests|docs)/[\w./-]+)`", GUIDE):
        assert (ROOT / name).exists(), name
