"""The names of PyPI packages for the modules that an import names."""

from __future__ import annotations

from typing import Final

# Modules whose package on PyPI has another name.
_PACKAGES: Final = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "google_cloud_pipeline_components": "google-cloud-pipeline-components",
    "kfp.kubernetes": "kfp-kubernetes",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}


def package_name(module: str) -> str:
    """Return the name of the package that contains a module, or else the module's own name.

    Args:
        module: the dotted name in the import.

    Example:
        >>> package_name("sklearn.linear_model")
        'scikit-learn'
        >>> package_name("google.cloud.storage")
        'google-cloud-storage'
    """
    top = module.partition(".")[0]
    package = _PACKAGES.get(module) or _PACKAGES.get(top)
    if package is not None:
        return package
    # Each Google Cloud library is a package of its own below the namespace google.cloud.
    if module.startswith("google.cloud."):
        return "google-cloud-" + module.split(".")[2].replace("_", "-")
    return top
