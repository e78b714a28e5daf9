"""Rules of this repository about its own Terraform. Each is a function over the blocks of a folder;
see RULES."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from terraform_offline.hcl import Block, blocks, of_kind, values

Rule = Callable[[list[Block]], Iterator[str]]

RULES: Final[list[Rule]] = []

PRIMITIVE: Final = ("roles/owner", "roles/editor", "roles/viewer")
PUBLIC: Final = ("allUsers", "allAuthenticatedUsers")
TOO_WIDE: Final = re.compile(
    r"roles/(iam|storage|artifactregistry|secretmanager|run|pubsub|resourcemanager)\..*"
    r"|roles/.*[aA]dmin"
)
"""Roles that are granted on an account, a bucket, a repository and so on, or that administer: never
on a project."""
SECRET_BEARING: Final = (
    "google_service_account_key",
    "google_storage_hmac_key",
    "google_secret_manager_secret_version",
    "google_sql_user",
    "random_password",
)
"""Resources whose secrets would lie in the state."""
LABELS: Final = ("labels", "user_labels", "resource_labels")
LABELS_ELSEWHERE: Final = {
    "google_container_node_pool": ("node_config", "resource_labels"),
    "google_monitoring_notification_channel": ("", "user_labels"),  # its labels are its address
    "google_sql_database_instance": ("settings", "user_labels"),
}
"""Type -> the block, and the attribute in it, where labels are not where they usually are."""
VERSION: Final = "~> 6.50"


def findings(folder: Path) -> list[str]:
    """What the rules find in a folder: `file: rule: what`."""
    found = blocks(folder)
    return [f"{folder.name}: {rule.__name__}: {line}" for rule in RULES for line in rule(found)]


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


@rule
def no_primitive_role(found: list[Block]) -> Iterator[str]:
    for block in _made(found):
        for text in values(block.body):
            if text in PRIMITIVE:
                yield f"{block.kind} {block.name} names {text}"


@rule
def nobody_is_everybody(found: list[Block]) -> Iterator[str]:
    for block in _made(found):
        for text in values(block.body):
            if text in PUBLIC:
                yield f"{block.kind} {block.name} names {text}"


@rule
def no_public_bucket(found: list[Block]) -> Iterator[str]:
    for block in _resources(found, "google_storage_bucket"):
        if block.body.get("public_access_prevention") != "enforced":
            yield f"{block.name} does not enforce public_access_prevention"
        if block.body.get("uniform_bucket_level_access") is not True:
            yield f"{block.name} has no uniform_bucket_level_access"
    for block in _resources(
        found,
        "google_storage_bucket_acl",
        "google_storage_object_acl",
        "google_storage_bucket_access_control",
    ):
        yield f"{block.name} is an ACL"


@rule
def no_secret_in_the_state(found: list[Block]) -> Iterator[str]:
    for block in _resources(found, *SECRET_BEARING):
        yield f"{block.name} would put a secret into the state"


@rule
def nobody_elses_grants_are_removed(found: list[Block]) -> Iterator[str]:
    for block in of_kind(found, "resource"):
        if block.labels[0].endswith(("_iam_policy", "_iam_binding")):
            yield f"{block.name} owns all grants of a role; use the _iam_member"


@rule
def nothing_too_wide_on_a_project(found: list[Block]) -> Iterator[str]:
    for block in _resources(found, "google_project_iam_member"):
        if TOO_WIDE.fullmatch(str(block.body.get("role"))):
            yield f"{block.name} grants {block.body['role']} on the project"
    for block in of_kind(found, "locals"):
        for table in ("accounts", "people"):
            for name, account in (block.body.get(table) or {}).items():
                yield from (
                    f"{name} gets {role} on the project"
                    for role in account["project"]
                    if TOO_WIDE.fullmatch(role)
                )


@rule
def every_variable_is_typed_and_described(found: list[Block]) -> Iterator[str]:
    for block in of_kind(found, "variable"):
        kind, described = block.body.get("type"), block.body.get("description", "")
        if not kind or kind == "any":
            yield f"variable {block.name} has no type"
        if not described.endswith("."):
            yield f"variable {block.name} has no description, or one that is no sentence"


@rule
def every_output_is_described(found: list[Block]) -> Iterator[str]:
    for block in of_kind(found, "output"):
        if not block.body.get("description", "").endswith("."):
            yield f"output {block.name} has no description, or one that is no sentence"


@rule
def providers_are_pinned(found: list[Block]) -> Iterator[str]:
    for block in of_kind(found, "terraform"):
        for needed in block.body.get("required_providers", []):
            for name, provider in needed.items():
                if provider.get("version") != VERSION:
                    yield f"{name} is not pinned to {VERSION}"


@rule
def protection_is_not_switched_off_where_it_is_written(found: list[Block]) -> Iterator[str]:
    for block in of_kind(found, "resource"):
        for key, value in _attributes(block.body):
            if key.startswith("deletion_protection") and value is False:
                yield f"{block.name} is never protected; take a variable"


@rule
def a_cluster_is_not_replaced_for_its_pools(found: list[Block]) -> Iterator[str]:
    """The API tells the first pool's settings as the cluster's:
    hashicorp/terraform-provider-google, issue 2115."""
    for block in _resources(found, "google_container_cluster"):
        ignored = [
            name
            for each in block.body.get("lifecycle", [])
            for name in each.get("ignore_changes", [])
        ]
        if "node_config" in block.body and "node_config" not in ignored:
            yield f"{block.name} has a node_config whose changes are not ignored"


def unvalidated(found: list[Block]) -> Iterator[str]:
    """Variables of a module whose values nobody looks at: all but booleans need a validation."""
    for block in of_kind(found, "variable"):
        if block.body.get("type") != "bool" and not block.body.get("validation"):
            yield f"variable {block.name} is not validated"


def unlabelled(found: list[Block], schemas: Mapping[str, Any]) -> Iterator[str]:
    """Resources that could carry labels, and do not.

    schemas: type -> its block, as `terraform providers schema` has it.
    """
    for block in of_kind(found, "resource"):
        kind = block.labels[0]
        places, body = (
            {name for name in LABELS if name in schemas[kind]["attributes"]},
            [block.body],
        )
        if kind in LABELS_ELSEWHERE:
            inside, name = LABELS_ELSEWHERE[kind]
            places, body = {name}, block.body[inside] if inside else body
        if places and not any(places & set(each) for each in body):
            yield f"{block.name} carries no {' or '.join(sorted(places))}"


def _made(found: list[Block]) -> Iterator[Block]:
    """Blocks that make or hand on something; a validation may name what it refuses."""
    for block in found:
        if block.kind in ("resource", "module", "locals", "output"):
            yield block
        elif block.kind == "variable":
            yield Block(
                block.kind, block.labels, {"default": block.body.get("default")}, block.file
            )


def _resources(found: list[Block], *types: str) -> Iterator[Block]:
    return (block for block in of_kind(found, "resource") if block.labels[0] in types)


def _attributes(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in body.items():
        yield key, value
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, Mapping):
                yield from _attributes(inner)
