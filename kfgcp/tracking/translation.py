"""Translate the portable requests of a pipeline, its GPUs and secrets, for an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfgcp.config import Environment
from kfgcp.settings import BackendSettings
from kfgcp.spec.load import Spec
from kfgcp.spec.wire import may_need_translation
from kfgcp.translation_tables import read_tables

if TYPE_CHECKING:
    from kfgcp.spec.translate import Translated


def translate_for(environment: Environment, spec: Spec) -> Translated | None:
    """Return the documents of a pipeline in the form that the backend of an environment takes.

    The value is None when the pipeline asks for nothing that backends name differently.
    """
    if not may_need_translation(spec.pipeline_spec, spec.platform_spec):
        return None
    # Most pipelines need no translation, and the module takes time to import.
    from kfgcp.spec.translate import translate

    # A required key may be missing here. The workspace reports it when it opens the backend.
    settings = BackendSettings.of(environment.settings)
    tables = read_tables(environment.declaration.form, settings.accelerators, settings.secrets)
    return translate(spec.pipeline_spec, spec.platform_spec, tables)
