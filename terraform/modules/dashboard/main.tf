# The dashboard on Cloud Run. Identity-Aware Proxy asks every visitor who they are; nobody can call it around that.

locals {
  labels = merge(var.labels, { component = "dashboard", managed_by = "terraform" })
  name   = "${var.prefix}-dashboard"
  # Cloud Run gives each service two addresses; only this one is known before the service is there.
  host = "${local.name}-${data.google_project.this.number}.${var.location}.run.app"
  # The dashboard answers to no other name.
  environment_variables = merge({ KFGCP_DASHBOARD_HOST_NAMES = join(",", concat([local.host], var.host_names)) }, var.environment_variables)
}

data "google_project" "this" {
  project_id = var.project
}

# Google makes the proxy's account when it is asked to; a grant to one that is not there is refused.
resource "google_project_service_identity" "iap" {
  provider = google-beta
  project  = var.project
  service  = "iap.googleapis.com"
}

resource "google_cloud_run_v2_service" "this" {
  provider            = google-beta
  project             = var.project
  location            = var.location
  name                = local.name
  description         = "Runs of all pipelines"
  launch_stage        = "BETA" # which iap_enabled needs
  iap_enabled         = true
  ingress             = { all = "INGRESS_TRAFFIC_ALL", internal = "INGRESS_TRAFFIC_INTERNAL_ONLY", internal-and-load-balancer = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" }[var.ingress]
  deletion_protection = var.deletion_protection
  labels              = local.labels

  template {
    service_account  = var.service_account
    session_affinity = true # a page of Streamlit talks to the instance that drew it
    labels           = local.labels
    timeout          = "3600s"

    scaling {
      min_instance_count = 0
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image
      ports {
        container_port = 8080 # where dashboards/Dockerfile listens
      }
      resources {
        limits            = { cpu = "1", memory = "1Gi" }
        cpu_idle          = true
        startup_cpu_boost = true
      }
      dynamic "env" {
        for_each = local.environment_variables
        content {
          name  = env.key
          value = env.value
        }
      }
      startup_probe {
        tcp_socket { # a probe over HTTP has another host name
          port = 8080
        }
        failure_threshold = 12
        period_seconds    = 5
      }
    }
  }
}

# Only IAP itself may call the service; people are let in by IAP.
resource "google_cloud_run_v2_service_iam_member" "iap" {
  project  = var.project
  location = var.location
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = google_project_service_identity.iap.member
}

resource "google_iap_web_cloud_run_service_iam_member" "users" {
  for_each               = toset(var.users)
  project                = var.project
  location               = var.location
  cloud_run_service_name = google_cloud_run_v2_service.this.name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value
}
