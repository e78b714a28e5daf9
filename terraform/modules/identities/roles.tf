# Who may do what. docs/guides/security.md holds a table that is generated from this file.
#
# `on` grants roles on what other modules make: the artifacts bucket, a team's folder in it (artifacts/TEAM), the bucket
# of builds, the bucket of Kubeflow and its folders, the repositories docker and kfp. `custom/NAME` is a role of custom_roles.

locals {
  custom_roles = {
    bucket_reader = {
      title       = "See a bucket, not what is in it"
      permissions = ["storage.buckets.get"]
    }
    cluster_switch = {
      title       = "Stop and start a cluster and its database"
      permissions = ["cloudsql.instances.get", "cloudsql.instances.update", "container.clusters.get", "container.clusters.update"]
    }
    database_dump = {
      title       = "Have a database written to a bucket"
      permissions = ["cloudsql.instances.export", "cloudsql.instances.get"]
    }
    job_starter = {
      title       = "Start pipeline jobs"
      permissions = ["aiplatform.pipelineJobs.create", "aiplatform.pipelineJobs.get"]
    }
  }

  accounts = {
    runner = {
      part    = "always"
      purpose = "Tasks of a team's runs on Vertex AI; one for each team"
      project = ["roles/aiplatform.user", "roles/logging.logWriter", "roles/monitoring.metricWriter"]
      on = {
        "artifacts"      = ["custom/bucket_reader"]
        "artifacts/TEAM" = ["roles/storage.objectUser"]
        "docker"         = ["roles/artifactregistry.reader"]
        "kfp"            = ["roles/artifactregistry.reader"]
      }
      acts_as = []
      pods    = []
    }
    submitter = {
      part    = "submitter"
      purpose = "Runs that a CI system outside of Google starts, by federation"
      project = ["roles/aiplatform.user", "roles/logging.viewer"]
      on = {
        "artifacts"      = ["custom/bucket_reader"]
        "artifacts/TEAM" = ["roles/storage.objectUser"]
        "kfp"            = ["roles/artifactregistry.writer"]
      }
      acts_as = ["runner"]
      pods    = []
    }
    scheduler = {
      part    = "scheduler"
      purpose = "Runs that Cloud Scheduler starts"
      project = ["custom/job_starter"]
      on      = { "kfp" = ["roles/artifactregistry.reader"] }
      acts_as = ["runner"]
      pods    = []
    }
    ci = {
      part    = "ci"
      purpose = "Builds on Cloud Build of main and of tags"
      project = ["roles/logging.logWriter"]
      # It adds to the bucket, and can neither replace nor delete what earlier builds kept there.
      on      = { "builds" = ["roles/storage.objectCreator", "roles/storage.objectViewer"] }
      acts_as = []
      pods    = []
    }
    ci-pr = {
      part    = "ci"
      purpose = "Builds of pull requests, whose code nobody has read yet"
      project = ["roles/logging.logWriter"]
      on      = {}
      acts_as = []
      pods    = []
    }
    dashboard = {
      part    = "dashboard"
      purpose = "The dashboard on Cloud Run"
      project = ["roles/aiplatform.viewer", "roles/logging.viewer", "roles/monitoring.viewer"]
      on      = { "artifacts" = ["custom/bucket_reader", "roles/storage.objectViewer"] }
      acts_as = []
      pods    = []
    }
    nodes = {
      part    = "kubeflow"
      purpose = "Nodes of the cluster"
      project = ["roles/container.defaultNodeServiceAccount"]
      on      = { "docker" = ["roles/artifactregistry.reader"] }
      acts_as = []
      pods    = []
    }
    kfp-server = {
      part    = "kubeflow"
      purpose = "The API server of Kubeflow Pipelines"
      project = []
      on = {
        "kubeflow"           = ["custom/bucket_reader"]
        "kubeflow/artifacts" = ["roles/storage.objectViewer"]
        "kubeflow/logs"      = ["roles/storage.objectViewer"]
        "kubeflow/pipelines" = ["roles/storage.objectUser"]
      }
      acts_as = []
      pods    = ["ml-pipeline"]
    }
    kfp-ui = {
      part    = "kubeflow"
      purpose = "The user interface of Kubeflow Pipelines, which shows artifacts and logs"
      project = []
      on = {
        "kubeflow/artifacts" = ["roles/storage.objectViewer"]
        "kubeflow/logs"      = ["roles/storage.objectViewer"]
      }
      acts_as = []
      pods    = ["ml-pipeline-ui"]
    }
    kfp-runner = {
      part    = "kubeflow"
      purpose = "Tasks of runs on Kubeflow Pipelines"
      project = ["roles/logging.logWriter", "roles/monitoring.metricWriter"]
      on = {
        "kubeflow"           = ["custom/bucket_reader"]
        "kubeflow/artifacts" = ["roles/storage.objectUser"]
        "kubeflow/logs"      = ["roles/storage.objectUser"]
      }
      acts_as = []
      pods    = ["pipeline-runner"]
    }
    kfp-sql = {
      part    = "kubeflow"
      purpose = "The proxy to Cloud SQL"
      project = ["roles/cloudsql.client"]
      on      = {}
      acts_as = []
      pods    = ["cloudsql-proxy"]
    }
    kfp-dump = {
      part    = "kubeflow"
      purpose = "Cloud Scheduler, when it has the database dumped"
      project = ["custom/database_dump"]
      on      = {}
      acts_as = []
      pods    = []
    }
    kfp-secrets = {
      part    = "kubeflow"
      purpose = "What reads secrets from Secret Manager into the cluster"
      project = []
      on      = {}
      acts_as = []
      pods    = ["secret-reader"]
    }
    kfp-switch = {
      part    = "kubeflow"
      purpose = "Cloud Scheduler, when it stops an idle cluster and starts it again"
      project = ["custom/cluster_switch"]
      on      = {}
      acts_as = []
      pods    = []
    }
  }

  people = {
    member = {
      purpose = "Members of a team: they start, watch and cancel runs"
      project = ["roles/aiplatform.user", "roles/logging.viewer", "roles/monitoring.viewer"]
      on = {
        "artifacts"      = ["custom/bucket_reader"]
        "artifacts/TEAM" = ["roles/storage.objectUser"]
        "docker"         = ["roles/artifactregistry.writer"]
        "kfp"            = ["roles/artifactregistry.writer"]
      }
      acts_as = ["runner"]
    }
    viewer = {
      purpose = "Those who look at runs and change nothing"
      project = ["roles/aiplatform.viewer", "roles/logging.viewer", "roles/monitoring.viewer"]
      on      = {}
      acts_as = []
    }
  }
}
