"""The component `promote_model`: a version of a model gets an alias, such as `champion`.

Whoever uses the model asks for the alias, so a promotion needs no other change. The move is safe
against other tasks: with `expected`, the task fails when the alias has another version than the one
that your checks compared with.

## Limits

- In a folder, the store decides which of two tasks is first. Vertex AI has no condition for moving
  an alias: the component reads the alias just before and after the move. Of two tasks that move it
  within the same moment, both may succeed, and the later one counts.
- A cached task would move nothing, so the task is not cached. `kfgcp run --cache` switches the
  cache on for all tasks, also for this one.
- To go back, promote the version that the task returned. On Vertex AI, a task that is tried again
  does not know it any more. In a folder, the files below
  `NAME/aliases/ALIAS/` are the history of the alias.
"""

from kfp import dsl

from kfgcp_components.caching import without_cache


@without_cache
@dsl.component(base_image="gcp", install_kfp_package=False)  # type: ignore[untyped-decorator]
def promote_model(
    registry: str, name: str, version: str, alias: str = "champion", expected: str = ""
) -> str:
    """Give an alias to a version of a registered model.

    Args:
        registry: The URI of a folder, or projects/PROJECT/locations/LOCATION for Vertex AI.
        name: Name of the model in the registry.
        version: Id of the version, from `register_model`.
        alias: The alias, such as "champion".
        expected: Version that must have the alias now; "none" for no version; empty for any.

    Returns:
        The version that had the alias before, or an empty text.
    """
    from kfgcp_components.logs import log
    from kfgcp_components.ship.promote_model.logic import promote

    previous = promote(registry, name, version, alias, expected)
    log(f"{name}@{alias} is version {version}; it was {previous or 'no other version'} before")
    return previous
