"""Check the rules of this repository for its own Terraform.

Each rule is a function that takes the blocks of a folder and yields what breaks it, see RULES.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from terraform_offline.hcl import Block, nested_texts, read_blocks, select_kind

Rule = Callable[[Sequence[Block]], Iterator[str]]

RULES: Final[list[Rule]] = []

PRIMITIVE_ROLES: Final = ("roles/owner", "roles/editor", "roles/viewer")
PUBLIC_MEMBERS: Final = ("allUsers", "allAuthenticatedUsers")

# Roles that administer, and roles that can be granted on one account, bucket, repository and so
# on. None of them is granted on a project.
TOO_WIDE: Final = re.compile(
    r"roles/(iam|storage|artifactregistry|secretmanager|run|pubsub|resourcemanager)\..*"
    r"|roles/.*[aA]dmin"
)

# Terraform would write the secrets of these resources into its state.
TYPES_WITH_SECRETS: Final = (
    "google_service_account_key",
    "google_storage_hmac_key",
    "google_secret_manager_secret_version",
    "google_sql_user",
    "random_password",
)

LABEL_ATTRIBUTES: Final = ("labels", "user_labels", "resource_labels")

# The nested block and the attribute for the types that have their labels in an unusual place. An
# empty block stands for the resource itself. The `labels` of a notification channel are its
# address.
UNUSUAL_LABELS: Final = {
    "google_container_node_pool": ("node_config", "resource_labels"),
    "google_monitoring_notification_channel": ("", "user_labels"),
    "google_sql_database_instance": ("settings", "user_labels"),
}

# The stand-ins of the providers do not know arguments that are newer than 6.50.0.
PROVIDER_VERSION: Final = "~> 6.50"


def check_folder(folder: Path) -> list[str]:
    """Return what breaks a rule in a folder, as lines `folder: rule: what`."""
    blocks = read_blocks(folder)
    lines = []
    for function in RULES:
        name = function.__name__
        lines += [f"{folder.name}: {name}: {finding}" for finding in function(blocks)]
    return lines


def find_unvalidated_variables(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield the variables of a module without a validation. Booleans need none."""
    for block in select_kind(blocks, "variable"):
        if block.body.get("type") != "bool" and not block.body.get("validation"):
            yield f"variable {block.name} is not validated"


def find_unlabelled_resources(
    blocks: Sequence[Block], schemas: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield the resources that could have labels and do not have them.

    Args:
        blocks: the blocks of a module.
        schemas: the block of each type of resource, as `terraform providers schema -json` has it.
    """
    for block in select_kind(blocks, "resource"):
        kind = block.labels[0]
        if kind in UNUSUAL_LABELS:
            nested_block, attribute = UNUSUAL_LABELS[kind]
            attributes = {attribute}
            bodies = block.body[nested_block] if nested_block else [block.body]
        else:
            attributes = set(LABEL_ATTRIBUTES) & schemas[kind]["attributes"].keys()
            bodies = [block.body]
        has_labels = any(attributes & set(body) for body in bodies)
        if attributes and not has_labels:
            yield f"{block.name} has no {' or '.join(sorted(attributes))}"


def rule(function: Rule) -> Rule:
    """Add a function to RULES."""
    RULES.append(function)
    return function


@rule
def no_primitive_role(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield primitive roles, which have nearly all permissions."""
    yield from _find_texts(blocks, PRIMITIVE_ROLES)


@rule
def nobody_is_everybody(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield what is open to the public."""
    yield from _find_texts(blocks, PUBLIC_MEMBERS)


@rule
def no_public_bucket(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield buckets that could become public, and rights that are not granted by IAM."""
    for block in _select_types(blocks, "google_storage_bucket"):
        if block.body.get("public_access_prevention") != "enforced":
            yield f"{block.name} does not enforce public_access_prevention"
        if block.body.get("uniform_bucket_level_access") is not True:
            yield f"{block.name} has no uniform_bucket_level_access"
    access_lists = _select_types(
        blocks,
        "google_storage_bucket_acl",
        "google_storage_object_acl",
        "google_storage_bucket_access_control",
    )
    for block in access_lists:
        yield f"{block.name} is an ACL"


@rule
def no_secret_in_the_state(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield secrets that everyone who may read the state could read."""
    for block in _select_types(blocks, *TYPES_WITH_SECRETS):
        yield f"{block.name} would write a secret into the state"


@rule
def nobody_elses_grants_are_removed(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield policies and bindings, which remove every grant that is not in the configuration."""
    for block in select_kind(blocks, "resource"):
        if block.labels[0].endswith(("_iam_policy", "_iam_binding")):
            yield f"{block.name} owns all grants of a role; use the _iam_member"


@rule
def nothing_too_wide_on_a_project(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield roles that are too wide for everything in a project."""
    for block in _select_types(blocks, "google_project_iam_member"):
        role = block.body.get("role")
        if TOO_WIDE.fullmatch(str(role)):
            yield f"{block.name} grants {role} on the project"
    for block in select_kind(blocks, "locals"):
        for table in ("accounts", "people"):
            for name, account in (block.body.get(table) or {}).items():
                for role in account["project"]:
                    if TOO_WIDE.fullmatch(role):
                        yield f"{name} gets {role} on the project"


@rule
def every_variable_is_typed_and_described(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield variables without a type other than `any`, or without a sentence as description."""
    for block in select_kind(blocks, "variable"):
        if block.body.get("type", "any") in ("", "any"):
            yield f"variable {block.name} has no type"
        if not block.body.get("description", "").endswith("."):
            yield f"variable {block.name} has no description, or one that is not a sentence"


@rule
def every_output_is_described(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield outputs without a sentence as description."""
    for block in select_kind(blocks, "output"):
        if not block.body.get("description", "").endswith("."):
            yield f"output {block.name} has no description, or one that is not a sentence"


@rule
def providers_are_pinned(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield providers that are required in another version than PROVIDER_VERSION."""
    for block in select_kind(blocks, "terraform"):
        for requirements in block.body.get("required_providers", []):
            for name, provider in requirements.items():
                if provider.get("version") != PROVIDER_VERSION:
                    yield f"{name} is not pinned to {PROVIDER_VERSION}"


@rule
def protection_is_not_switched_off_where_it_is_written(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield protections that are off for every environment. The environment has to decide."""
    for block in select_kind(blocks, "resource"):
        for name, value in _nested_attributes(block.body):
            if name.startswith("deletion_protection") and value is False:
                yield f"{block.name} is never protected; use a variable"


@rule
def a_cluster_is_not_replaced_for_its_pools(blocks: Sequence[Block]) -> Iterator[str]:
    """Yield clusters that Terraform would replace after a change of their first pool.

    The API returns the settings of the first pool as those of the cluster. See issue 2115 of
    hashicorp/terraform-provider-google.
    """
    for block in _select_types(blocks, "google_container_cluster"):
        ignored = []
        for lifecycle in block.body.get("lifecycle", []):
            ignored += lifecycle.get("ignore_changes", [])
        if "node_config" in block.body and "node_config" not in ignored:
            yield f"{block.name} has a node_config whose changes are not ignored"


def _find_texts(blocks: Sequence[Block], forbidden: Sequence[str]) -> Iterator[str]:
    """Yield where one of the texts is in a value that takes effect."""
    for block in blocks:
        body: object = None
        if block.kind in ("resource", "module", "locals", "output"):
            body = block.body
        elif block.kind == "variable":
            # The validation of a variable may contain what it refuses.
            body = block.body.get("default")
        for text in nested_texts(body):
            if text in forbidden:
                yield f"{block.kind} {block.name} contains {text}"


def _select_types(blocks: Sequence[Block], *types: str) -> list[Block]:
    return [block for block in select_kind(blocks, "resource") if block.labels[0] in types]


def _nested_attributes(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each attribute, with those of nested blocks."""
    for name, value in body.items():
        yield name, value
        items = value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, Mapping):
                yield from _nested_attributes(item)
