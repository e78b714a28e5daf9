"""Translate the portable requests of a pipeline, its GPUs and secrets, for an environment."""

from __future__ import annotations

from kfgcp.config import Environment
from kfgcp.settings import BackendSettings
from kfgcp.spec.load import Spec
from kfgcp.spec.translate import Translated, translate
from kfgcp.translation_tables import read_tables


def translate_for(environment: Environment, spec: Spec) -> Translated:
    """Return the documents of a pipeline in the form that the backend of an environment takes."""
    # A required key may be missing here. The workspace reports it when it opens the backend.
    settings = BackendSettings.of(environment.settings)
    tables = read_tables(environment.declaration.form, settings.accelerators, settings.secrets)
    return translate(spec.pipeline_spec, spec.platform_spec, tables)
