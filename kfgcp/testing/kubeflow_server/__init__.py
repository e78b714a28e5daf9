"""A Kubeflow Pipelines API server on this machine: `with kfgcp.testing.kubeflow() as env:`.

The sources are the paths and models of kfp-server-api 2.17, the requests of the clients of kfp 2.16
and 2.17, and the public source of the server. Each module names its sources and what could not be
confirmed.
"""
