"""The names of PyPI packages for the modules that an import names."""

from __future__ import annotations

# Modules whose package on PyPI has another name.
_PACKAGES = {
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
    """Return the name of the package that contains a module: a known one, or else the module's own
    name.

    Args:
        module: the dotted name in the import, `google.cloud.storage` for example.
    """
    top = module.partition(".")[0]
    package = _PACKAGES.get(module) or _PACKAGES.get(top)
    if package is None and module.startswith("google.cloud."):
        package = "google-cloud-" + module.split(".")[2].replace("_", "-")
    return package or top
