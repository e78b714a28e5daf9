# Switches on the APIs of the chosen parts, and no others.

locals {
  always = [
    "aiplatform.googleapis.com",
    "artifactregistry.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
    "sts.googleapis.com",
  ]
  of_part = {
    ci        = ["cloudbuild.googleapis.com"]
    dashboard = ["iap.googleapis.com", "run.googleapis.com"]
    kubeflow = [
      "binaryauthorization.googleapis.com",
      "cloudscheduler.googleapis.com",
      "compute.googleapis.com",
      "container.googleapis.com",
      "containersecurity.googleapis.com",
      "gkebackup.googleapis.com",
      "iap.googleapis.com",
      "secretmanager.googleapis.com",
      "servicenetworking.googleapis.com",
      "sqladmin.googleapis.com",
    ]
    monitoring = ["billingbudgets.googleapis.com", "pubsub.googleapis.com"]
    network    = ["compute.googleapis.com", "servicenetworking.googleapis.com"]
    scheduler  = ["cloudscheduler.googleapis.com"]
  }
  all = toset(concat(local.always, flatten([for part in var.parts : local.of_part[part]]), tolist(var.more)))
}

resource "google_project_service" "this" {
  for_each                   = local.all
  project                    = var.project
  service                    = each.value
  disable_on_destroy         = false # others in the project may use it
  disable_dependent_services = false
}
