"""Give a task the values of the secrets that it asks for, from variables and files here.

A task asks with the value `secret:NAME` of a variable, or with a Kubernetes secret of
kfp-kubernetes. The table `secrets` of the environment says where the value is. The value is read
when an attempt starts, and goes only into the environment of the attempt. The store, the request,
the log of the engine and the cache keys have only the names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from kfgcp.semantics.values import ValueProblem
from kfgcp.spec.graph import Container, Graph
from kfgcp.spec.platform import ClusterConfig
from kfgcp.translation_tables import Form, Secret, Tables, requested_secret

# The places of a secret that the store keeps for a local run.
_PLACES: Final = ("secret", "key", "variable", "file")


class Secrets:
    """The secrets of a local run: where they are, never their values.

    Args:
        secrets: the entries of the table, by their names.
        environ: the environment of the user, None for the environment of this process.
    """

    def __init__(
        self, secrets: Mapping[str, Secret], environ: Mapping[str, str] | None = None
    ) -> None:
        self._tables = Tables(Form.LOCAL, secrets=secrets)
        self._environ = os.environ if environ is None else environ

    def value(self, asked: str) -> str | None:
        """Return the value of a variable that asks for a secret, None when it does not ask for one.

        Args:
            asked: the value of the variable in the pipeline.

        Raises:
            ValueProblem: the secret has no place here, or nothing is there.
        """
        name = requested_secret(asked)
        if not name:
            return None
        entry = self._tables.secrets.get(name)
        if entry is None or not entry.is_known(Form.LOCAL):
            raise ValueProblem(
                f"the secret {name} has no place on this machine; in kfgcp.toml, give it a variable"
                f' or a file: [env.local.secrets] {name} = {{ variable = "{name}" }}'
            )
        return self._read(entry)

    def cluster_variables(self, config: ClusterConfig) -> dict[str, str]:
        """Return the variables of Kubernetes secrets whose places here are known.

        Raises:
            ValueProblem: nothing is at a place, and the variable is not optional.
        """
        values: dict[str, str] = {}
        for asked in config.secrets:
            entry = self._tables.find_kubernetes_secret(asked.secret, asked.key)
            if entry is None or not entry.is_known(Form.LOCAL):
                continue
            try:
                values[asked.variable] = self._read(entry)
            except ValueProblem:
                if not asked.optional:
                    raise
        return values

    def covers(self, config: ClusterConfig) -> set[str]:
        """Return the names of the variables of Kubernetes secrets whose places here are known."""
        names = set()
        for asked in config.secrets:
            entry = self._tables.find_kubernetes_secret(asked.secret, asked.key)
            if entry is not None and entry.is_known(Form.LOCAL):
                names.add(asked.variable)
        return names

    def notes(self, graph: Graph) -> Iterator[str]:
        """Yield a line for each component that will fail, because a secret is not there."""
        for component in graph.components.values():
            container = component.executor
            if not isinstance(container, Container):
                continue
            try:
                for value in container.env.values():
                    self.value(value)
                self.cluster_variables(container.cluster)
            except ValueProblem as problem:
                name = component.name.removeprefix("comp-")
                yield f"{name} will fail if it starts: {problem}"

    def _read(self, entry: Secret) -> str:
        """Return the value of a secret. Its errors never contain the value.

        Raises:
            ValueProblem: the variable is not set, or the file cannot be read.
        """
        if entry.variable:
            if entry.variable not in self._environ:
                raise ValueProblem(
                    f"the secret {entry.name} is in the variable {entry.variable}, which is not"
                    " set on this machine"
                )
            return self._environ[entry.variable]
        try:
            text = Path(entry.file).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueProblem(
                f"the secret {entry.name} is in the file {entry.file}, which cannot be read:"
                f" {error.strerror or error}"
            ) from None
        except UnicodeDecodeError:
            raise ValueProblem(
                f"the secret {entry.name} is in the file {entry.file}, which is not UTF-8 text"
            ) from None
        # Editors end a file with a newline, which is not a part of the secret.
        text = text.removesuffix("\n").removesuffix("\r")
        if "\0" in text:
            raise ValueProblem(
                f"the secret {entry.name} is in the file {entry.file}, which contains a NUL"
                " character, so no variable can hold the secret"
            )
        return text


def stored_secrets(secrets: Mapping[str, Secret], folder: Path) -> dict[str, dict[str, str]]:
    """Return the places of secrets as JSON, for the process that executes a run.

    Args:
        secrets: the entries of the table, by their names.
        folder: the folder of kfgcp.toml, from which paths of files start.
    """
    stored = {}
    for name, entry in secrets.items():
        if not entry.is_known(Form.LOCAL):
            continue
        places = {place: getattr(entry, place) for place in _PLACES}
        if entry.file:
            places["file"] = str(folder / Path(entry.file).expanduser())
        stored[name] = {place: text for place, text in places.items() if text}
    return stored


def read_stored_secrets(stored: Mapping[str, Mapping[str, str]]) -> dict[str, Secret]:
    """Return the entries that `stored_secrets` made."""
    return {name: Secret(name, **places) for name, places in stored.items()}
