mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789" }
  }
  mock_resource "google_monitoring_notification_channel" {
    defaults = { id = "projects/acme-ml-dev/notificationChannels/1" }
  }
}
mock_provider "google-beta" {}

variables {
  project     = "acme-ml-dev"
  location    = "europe-west4"
  cost_center = "ml"
  teams       = { growth = ["group:growth@acme.example"] }
  emails      = ["ml-ops@acme.example"]
  budget      = { billing_account = "012345-6789AB-CDEF01", amount = 500 }
}

run "vertex_ai_alone" {
  command = apply
  assert {
    condition     = output.kfgcp_environments == { growth = { backend = "vertex", project = "acme-ml-dev", location = "europe-west4", pipeline_root = "gs://acme-ml-dev-artifacts/growth", pipeline_registry = "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp", service_account = "kfgcp-runner-growth@acme-ml-dev.iam.gserviceaccount.com", labels = { team = "growth", environment = "dev", cost_center = "ml" } } }
    error_message = "These are the keys of an environment in kfgcp.toml."
  }
}

run "all_parts_and_two_teams" {
  command = apply
  variables {
    teams           = { growth = ["group:growth@acme.example"], fraud = ["group:fraud@acme.example"] }
    schedules       = { churn-daily = { team = "growth", cron = "0 6 * * 1-5", template = "churn/v1", params = "{\"lr\": 0.1}" } }
    kubeflow        = { host = "kfp.acme.example", iap_client_id = "1-x.apps.googleusercontent.com" }
    ci_repository   = "projects/acme-ml-dev/locations/europe-west4/connections/github/repositories/acme-pipelines"
    dashboard_image = "europe-west4-docker.pkg.dev/acme-ml-dev/kfgcp-docker/dashboard:v1"
  }
  assert {
    condition     = length(output.kfgcp_environments) == 4 && output.kubeflow_cluster == "kfgcp-kubeflow"
    error_message = "Two teams on two backends."
  }
}
