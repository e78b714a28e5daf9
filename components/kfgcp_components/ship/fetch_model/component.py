"""The component `fetch_model`: a registered version becomes a Model of the run.

It is the counterpart of `register_model` and `promote_model`. A training pipeline fetches the
champion to compare it with the new model, a batch prediction fetches it to use it.

A registry in a folder records which files were registered, and their digest. The task fails when a
file is missing or has changed. To repair the version, register the same model again.

With `required=False`, a model that is not registered yet is not an error: `found` is false, and the
folder of the model is empty. `gate_model` takes an empty folder as no champion.

## Limits

- The version that an alias means can change between two runs, and the cache does not see that. So
  the task is not cached.
"""

from typing import NamedTuple

from kfp import dsl

from kfgcp_components.caching import without_cache


@without_cache
@dsl.component(base_image="gcp", install_kfp_package=False)  # type: ignore[untyped-decorator]
def fetch_model(
    registry: str,
    name: str,
    model: dsl.Output[dsl.Model],
    version: str = "champion",
    required: bool = True,
) -> NamedTuple("Fetched", [("found", bool), ("resolved_version", str)]):  # type: ignore[valid-type]
    """Read a version of a registered model.

    Args:
        registry: The URI of a folder, or projects/PROJECT/locations/LOCATION for Vertex AI.
        name: Name of the model in the registry.
        version: Id of the version, or an alias such as "champion".
        required: Whether the task fails when the version is missing.
        model: The model folder. Metadata: name, version, resource.
        found: Whether there is such a version.
        resolved_version: Id of the version that was read, or "none". `promote_model` takes it as
            `expected`.
    """
    from pathlib import Path
    from typing import NamedTuple

    from kfgcp_components.logs import log
    from kfgcp_components.ship.fetch_model.logic import fetch_version
    from kfgcp_components.ship.promote_model.logic import NO_VERSION

    class Fetched(NamedTuple):
        found: bool
        resolved_version: str

    fetched = fetch_version(registry, name, version, Path(model.path), required=required)
    if fetched is None:
        log(f"{registry} has no {name}@{version} yet", severity="NOTICE")
        return Fetched(False, NO_VERSION)
    model.metadata.update(name=name, version=fetched.version, resource=fetched.resource)
    log(f"{name}@{version} is {fetched.resource}")
    return Fetched(True, fetched.version)
