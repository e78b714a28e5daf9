"""Differences between versions of the server. Each rule names its recording or its source.

Names such as api-2.5.0 are folders in tests/recorded. Names such as length.go are files of Kubeflow
Pipelines at its tags 2.5.0 to 2.17.0.
"""

from __future__ import annotations

from typing import NamedTuple


class ServerVersion(NamedTuple):
    """A version of the server, without the patch number, which changes no answers."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> ServerVersion:
        """Return the version that a text names: `2.14.3` is (2, 14).

        Raises:
            ValueError: the text is not a version.
        """
        major, minor = text.split(".")[:2]
        return cls(int(major), int(minor))

    @property
    def is_before_2_0(self) -> bool:
        """Whether the server has only the API v1beta1."""
        return self < (2, 0)

    @property
    def is_modern(self) -> bool:
        """Whether the server is 2.14 or newer.

        Older servers have `error` in errors, no `pipeline_store` in their health, and no `name` in
        pipelines. They answer unknown paths as plain text and accept unknown fields of a body. They
        do not support final states of tasks and collected outputs (api-2.5.0). Not confirmed: which
        version between 2.5 and 2.14 changed this.
        """
        return self >= (2, 14)

    @property
    def limits_names(self) -> bool:
        """Whether names have at most 128 bytes (apiserver/validation/length.go, since 2.15)."""
        return self >= (2, 15)

    @property
    def tells_why_uploads_fail(self) -> bool:
        """Whether errors of uploads contain the cause (pipeline_upload_server.go, until 2.14)."""
        return self < (2, 15)

    @property
    def refuses_bad_uploads_with_400(self) -> bool:
        """Whether the status for a bad spec is 400, not 500 (pipeline-upload-bad.json)."""
        return self >= (2, 17)

    @property
    def keeps_history_at_retry(self) -> bool:
        """Whether a retry keeps the earlier `state_history` (run-get-retried.json)."""
        return self >= (2, 17)

    @property
    def has_propagation_policies(self) -> bool:
        """Whether a recurring run can be deleted without its Workflows (recurring_run.proto)."""
        return self >= (2, 16)

    @property
    def has_tags(self) -> bool:
        """Whether pipelines and versions have tags and PATCH (pipeline.proto, since 2.17)."""
        return self >= (2, 17)

    @property
    def has_workflow_defaults(self) -> bool:
        """Whether the release gives every workflow a retry strategy (cluster-2.17.0/hello)."""
        return self >= (2, 17)

    @property
    def name_of_page_tokens(self) -> str:
        """The words for page tokens in errors (list.go; runs-list-bad-token.json)."""
        return "page token" if self >= (2, 17) else "package token"

    @property
    def keeps_tasks(self) -> bool:
        """Whether the API server keeps tasks, instead of ML Metadata (api-3.0-branch)."""
        return self >= (3, 0)
