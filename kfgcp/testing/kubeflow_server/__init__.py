"""A self-hosted Kubeflow Pipelines API server on this machine: `with kfgcp.testing.kubeflow() as
env:`.

What it is based on: the paths and models of kfp-server-api 2.17, what the clients of kfp 2.16 and
2.17 send, and the public source of the server. Each module says what it takes from where, and what
could not be confirmed.
"""
