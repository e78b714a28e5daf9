"""The JSON of a PipelineSpec. Only this module knows how its messages are spelled.

The field names are those of the PipelineSpec proto, in camelCase.
"""

from __future__ import annotations

from typing import Final

CHANNEL: Final = "pipelinechannel--"
"""What the KFP compiler writes before the names of inputs of a group that the user did not write."""
