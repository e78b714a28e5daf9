"""The type of JSON objects that tests build and change. `JsonObject` of kfgcp is read-only."""

from typing import Any

JsonDict = dict[str, Any]
"""A JSON object, such as a request or an answer. The test knows the types of its fields."""
