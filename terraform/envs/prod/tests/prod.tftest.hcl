mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789" }
  }
  mock_resource "google_monitoring_notification_channel" {
    defaults = { id = "projects/acme-ml-prod/notificationChannels/1" }
  }
}
mock_provider "google-beta" {}

variables {
  project     = "acme-ml-prod"
  location    = "europe-west4"
  cost_center = "ml"
  teams       = { growth = ["group:growth@acme.example"] }
  emails      = ["ml-ops@acme.example"]
  budget      = { billing_account = "012345-6789AB-CDEF01", amount = 500 }
}

run "what_holds_data_is_protected" {
  command = apply
  variables {
    kubeflow = { host = "kfp.acme.example", iap_client_id = "1-x.apps.googleusercontent.com" }
  }
  assert {
    condition     = output.kfgcp_environments["growth"].labels.environment == "prod" && output.kfgcp_environments["growth-kubeflow"].auth == "iap" && output.kfgcp_environments["growth-kubeflow"].iap_client_id == "1-x.apps.googleusercontent.com"
    error_message = "Both backends, behind Identity-Aware Proxy."
  }
}
