"""The component `register_model`: a model becomes a version in a registry.

The version follows from the files: the same files are the same version. So a task that is tried
again, or a second run with the same result, finds the version and adds nothing.

A registry is a folder on any storage, or the Model Registry of Vertex AI:

| `registry` | A version is | Needs |
| --- | --- | --- |
| `gs://acme-models`, `s3://acme-models`, a path | the folder `NAME/versions/v-<12 hex>/model` |\
 write access |
| `projects/acme-ml/locations/europe-west4` | a number that Vertex AI gives | a model at gs://, the\
 permission `aiplatform.models.upload` |

A folder registry has a copy of the files. When files of a version are missing or have changed
there, register the same model again to repair the version. Vertex AI has only the URI of the files
in the pipeline root of the run: deleting or expiring these objects breaks the version. Exclude them
from lifecycle rules of the bucket, or delete the version first.

On Vertex AI, the label `kfgcp-digest` holds the digest of the files, and `kfgcp-run` the run.
Vertex AI wants an image for each model. Without `serving_image`, the version names a prebuilt image
of Google, which cannot read model folders of kfgcp: set `serving_image` before you deploy the model
to an endpoint. `predict_batch` does not need it.

Keys and values of labels have at most 63 lowercase letters, digits, `_` and `-`. A key begins with
a letter, and a model has at most 62 labels. These are the limits of Google Cloud. They also hold
for folders, so that a pipeline can use both registries.

## Limits

- In a folder, a task that is killed while it writes leaves files below `versions/` without
  `version.json`. The registry does not show them, and the next attempt completes them.
- A cached task would register nothing, so the task is not cached. `kfgcp run --cache` switches the
  cache on for all tasks, also for this one.
- It gives no alias. `promote_model` does, after the checks that you want.
"""

from typing import NamedTuple

from kfp import dsl

from kfgcp_components.caching import without_cache


@without_cache
@dsl.component(base_image="gcp", install_kfp_package=False)  # type: ignore[untyped-decorator]
def register_model(
    model: dsl.Input[dsl.Model],
    registry: str,
    name: str,
    description: str = "",
    labels: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default from here
    run_id: str = "",
    serving_image: str = "",
) -> NamedTuple("Registered", [("version", str), ("resource", str)]):  # type: ignore[valid-type]
    """Register a model as a version in a model registry.

    Args:
        model: The model folder, as `train_classifier` writes it.
        registry: The URI of a folder, or projects/PROJECT/locations/LOCATION for Vertex AI.
        name: Name of the model in the registry, such as "churn".
        description: A text for people.
        labels: Texts by key, such as {"team": "growth"}.
        run_id: The run that made the model. Pass dsl.PIPELINE_JOB_ID_PLACEHOLDER.
        serving_image: Image that serves the model on Vertex AI.
        version: Id of the version, which never changes.
        resource: Full name of the version in the registry.
    """
    from pathlib import Path
    from typing import NamedTuple

    from kfgcp_components.logs import log
    from kfgcp_components.ship.register_model.logic import register

    class Registered(NamedTuple):
        version: str
        resource: str

    added = register(
        registry,
        name,
        Path(model.path),
        model.uri,
        description=description,
        labels=labels,
        run_id=run_id,
        serving_image=serving_image,
    )
    log(
        f"{name} is version {added.version}: {added.resource}",
        version=added.version,
        resource=added.resource,
    )
    return Registered(added.version, added.resource)
