"""The rules of tools/terraform_offline/rules.py: each finds what it is for, and none finds anything
in the modules."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from terraform_offline import rules
from terraform_offline.hcl import parse_blocks, read_blocks

TERRAFORM = Path(__file__).parents[2] / "terraform"
MODULES = sorted(file.parent for file in (TERRAFORM / "modules").glob("*/main.tf"))
FOLDERS = [*MODULES, *sorted(file.parent for file in TERRAFORM.glob("envs/*/main.tf"))]
EXAMPLES = [folder / "examples" / "basic" for folder in MODULES]


@pytest.mark.parametrize(
    "folder", FOLDERS + EXAMPLES, ids=lambda folder: str(folder.relative_to(TERRAFORM))
)
def test_nothing_is_found_in_it(folder: Path) -> None:
    assert read_blocks(folder)
    assert rules.check_folder(folder) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            "no_primitive_role",
            'resource "google_project_iam_member" "a" {\n  role = "roles/editor"\n}',
        ),
        ("no_primitive_role", 'locals {\n  accounts = { ci = { project = ["roles/owner"] } }\n}'),
        (
            "nobody_is_everybody",
            'resource "google_storage_bucket_iam_member" "a" {\n  member = "allUsers"\n}',
        ),
        (
            "nobody_is_everybody",
            'variable "users" {\n  type = list(string)\n  default = ["allAuthenticatedUsers"]\n}',
        ),
        (
            "no_public_bucket",
            'resource "google_storage_bucket" "a" {\n  uniform_bucket_level_access = true\n}',
        ),
        (
            "no_public_bucket",
            'resource "google_storage_bucket" "a" {\n  public_access_prevention = "enforced"\n}',
        ),
        ("no_public_bucket", 'resource "google_storage_bucket_acl" "a" {\n  bucket = "a"\n}'),
        (
            "no_secret_in_the_state",
            'resource "google_service_account_key" "a" {\n  service_account_id = "a"\n}',
        ),
        (
            "no_secret_in_the_state",
            'resource "google_storage_hmac_key" "a" {\n  service_account_email = "a"\n}',
        ),
        (
            "nobody_elses_grants_are_removed",
            'resource "google_project_iam_binding" "a" {\n  role = "roles/x"\n}',
        ),
        (
            "nothing_too_wide_on_a_project",
            (
                'resource "google_project_iam_member" "a" {\n  role ='
                ' "roles/iam.serviceAccountUser"\n}'
            ),
        ),
        (
            "nothing_too_wide_on_a_project",
            (
                "locals {\n  people = { member = { project ="
                ' ["roles/iam.serviceAccountTokenCreator"] } }\n}'
            ),
        ),
        (
            "nothing_too_wide_on_a_project",
            'locals {\n  accounts = { ci = { project = ["roles/storage.objectViewer"] } }\n}',
        ),
        (
            "nothing_too_wide_on_a_project",
            (
                'resource "google_project_iam_member" "a" {\n  role ='
                ' "roles/container.clusterAdmin"\n}'
            ),
        ),
        ("every_variable_is_typed_and_described", 'variable "a" {\n  description = "A thing."\n}'),
        ("every_variable_is_typed_and_described", 'variable "a" {\n  type = string\n}'),
        (
            "every_variable_is_typed_and_described",
            'variable "a" {\n  type = any\n  description = "A thing."\n}',
        ),
        ("every_output_is_described", 'output "a" {\n  value = 1\n}'),
        (
            "providers_are_pinned",
            (
                'terraform {\n  required_providers {\n    google = { source = "x/google", version ='
                ' ">= 6" }\n  }\n}'
            ),
        ),
        (
            "protection_is_not_switched_off_where_it_is_written",
            'resource "google_container_cluster" "a" {\n  deletion_protection = false\n}',
        ),
        (
            "a_cluster_is_not_replaced_for_its_pools",
            'resource "google_container_cluster" "a" {\n  node_config {\n    spot = true\n  }\n}',
        ),
    ],
)
def test_a_rule_finds_what_it_is_for(rule: str, text: str) -> None:
    (function,) = [function for function in rules.RULES if function.__name__ == rule]

    assert len(list(function(parse_blocks(text)))) == 1


def test_every_rule_is_proven_to_find_something() -> None:
    (mark,) = [
        mark for mark in test_a_rule_finds_what_it_is_for.pytestmark if mark.name == "parametrize"
    ]  # type: ignore[attr-defined]

    assert {rule for rule, _ in mark.args[1]} == {function.__name__ for function in rules.RULES}


def test_what_a_validation_refuses_may_be_named() -> None:
    text = (
        'variable "a" {\n  type = string\n  validation {\n    condition = var.a != "allUsers"\n '
        " }\n}"
    )

    assert list(rules.nobody_is_everybody(parse_blocks(text))) == []


@pytest.mark.parametrize(
    "folder", [m for m in MODULES if m.name != "environment"], ids=lambda folder: folder.name
)
def test_every_variable_is_validated(folder: Path) -> None:
    """The module environment hands its variables on to those that validate them."""
    assert list(rules.find_unvalidated_variables(read_blocks(folder))) == []


def test_a_variable_without_a_validation_is_found() -> None:
    text = 'variable "a" {\n  type = string\n}\nvariable "b" {\n  type = bool\n}'

    assert list(rules.find_unvalidated_variables(parse_blocks(text))) == [
        "variable a is not validated"
    ]


@pytest.fixture(scope="module")
def schemas() -> JsonDict:
    """Type of resource -> its block, in both providers."""
    if shutil.which("terraform") is None:
        pytest.skip("needs terraform, whose use fills the cache")
    from terraform_offline.cache import Cache
    from terraform_offline.run import default_cache

    cache = Cache(default_cache())
    cache.fill({"google", "google-beta"})
    blocks_by_type: dict[str, Any] = {}
    for provider in ("google-beta", "google"):
        (schema,) = json.loads(cache.schema_path(provider).read_text())["provider_schemas"].values()
        blocks_by_type |= {
            name: resource["block"] for name, resource in schema["resource_schemas"].items()
        }
    return blocks_by_type


@pytest.mark.parametrize("folder", MODULES, ids=lambda folder: folder.name)
def test_what_can_carry_labels_does(folder: Path, schemas: JsonDict) -> None:
    assert list(rules.find_unlabelled_resources(read_blocks(folder), schemas)) == []


@pytest.mark.parametrize(
    "text",
    [
        'resource "google_storage_bucket" "a" {\n  name = "a"\n}',
        (
            'resource "google_monitoring_notification_channel" "a" {\n  labels = { email_address ='
            ' "a@b.c" }\n}'
        ),
        'resource "google_sql_database_instance" "a" {\n  settings {\n    tier = "x"\n  }\n}',
        (
            'resource "google_container_node_pool" "a" {\n  node_config {\n    labels = { pool ='
            ' "a" }\n  }\n}'
        ),
        'resource "google_container_cluster" "a" {\n  name = "a"\n}',
    ],
)
def test_what_carries_none_is_found(text: str, schemas: JsonDict) -> None:
    assert len(list(rules.find_unlabelled_resources(parse_blocks(text), schemas))) == 1


def test_what_holds_data_is_protected_in_prod() -> None:
    (call,) = [
        block for block in read_blocks(TERRAFORM / "envs" / "prod") if block.kind == "module"
    ]
    handed_on = {
        block.name: block.body.get("deletion_protection")
        for block in read_blocks(TERRAFORM / "modules" / "environment")
        if block.kind == "module"
    }

    assert call.body["deletion_protection"] is True
    for name in ("storage", "kubeflow", "dashboard"):
        assert handed_on[name] == "${var.deletion_protection}", name
