"""The images of a project: build them, push them, and pin them in compiled pipelines.

An image is one of kfgcp's own (`base`, `gcp`, `tabular`) or a table [image.NAME] of kfgcp.toml. Its
identity is the hash of everything that it is built from, the *content*. The content gives the image
its tag, `c-` and 12 digits. `images.lock` records which digest the registry gave to a content.
"""
