"""The address of Vertex AI for a location."""

from __future__ import annotations

from typing import Final

# The locations that cover several regions. Hosts of these locations have another form than hosts of
# a region.
MULTI_REGIONS: Final = ("us", "eu")


def address(location: str) -> str:
    """Return the address of Vertex AI for a region, a multi-region or `global`.

    Example:
        >>> address("europe-west4")
        'https://europe-west4-aiplatform.googleapis.com'
    """
    if location in MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    prefix = "" if location == "global" else f"{location}-"
    return f"https://{prefix}aiplatform.googleapis.com"
