mock_provider "google" {}
mock_provider "google-beta" {
  mock_resource "google_project_service_identity" {
    defaults = { member = "serviceAccount:service-123456789@gcp-sa-iap.iam.gserviceaccount.com" }
  }
}

variables {
  project         = "acme-ml-dev"
  location        = "europe-west4"
  labels          = { environment = "dev", cost_center = "ml" }
  image           = "europe-west4-docker.pkg.dev/acme-ml-dev/kfgcp-docker/dashboard:v1.2.0"
  service_account = "kfgcp-dashboard@acme-ml-dev.iam.gserviceaccount.com"
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = output.service == "kfgcp-dashboard"
    error_message = "The name has the prefix."
  }
}

run "nobody_but_iap_calls_it" {
  command = apply
  variables {
    users = ["group:growth@acme.example"]
  }
  assert {
    condition     = google_cloud_run_v2_service.this.iap_enabled && google_cloud_run_v2_service_iam_member.iap.member == "serviceAccount:service-123456789@gcp-sa-iap.iam.gserviceaccount.com"
    error_message = "IAP is on, and the only caller."
  }
  assert {
    condition     = google_project_service_identity.iap.service == "iap.googleapis.com"
    error_message = "The proxy's account is made before it is granted something."
  }
  assert {
    condition     = google_iap_web_cloud_run_service_iam_member.users["group:growth@acme.example"].role == "roles/iap.httpsResourceAccessor"
    error_message = "People get through IAP, and no role on the service."
  }
}

run "it_costs_nothing_while_nobody_looks" {
  command = plan
  assert {
    condition     = google_cloud_run_v2_service.this.template[0].scaling[0].min_instance_count == 0 && google_cloud_run_v2_service.this.template[0].containers[0].resources[0].cpu_idle
    error_message = "No instance is kept."
  }
  assert {
    condition     = google_cloud_run_v2_service.this.labels["cost_center"] == "ml" && google_cloud_run_v2_service.this.deletion_protection
    error_message = "It is labelled and protected."
  }
}

run "it_answers_to_its_own_names_only" {
  command = apply
  variables {
    host_names            = ["dash.acme.example"]
    environment_variables = { KFGCP_ENV = "dev" }
  }
  override_data {
    target = data.google_project.this
    values = { number = "123456789" }
  }
  assert {
    condition     = { for each in google_cloud_run_v2_service.this.template[0].containers[0].env : each.name => each.value } == { KFGCP_ENV = "dev", KFGCP_DASHBOARD_HOST_NAMES = "kfgcp-dashboard-123456789.europe-west4.run.app,dash.acme.example" }
    error_message = "The address of the service and the given names lead to the dashboard."
  }
  assert {
    condition     = output.url == "https://kfgcp-dashboard-123456789.europe-west4.run.app"
    error_message = "The address is the one that the dashboard answers to."
  }
}

run "a_host_name_that_is_an_address_is_refused" {
  command = plan
  variables {
    host_names = ["https://dash.acme.example"]
  }
  expect_failures = [var.host_names]
}

run "the_public_is_refused" {
  command = plan
  variables {
    users = ["allUsers"]
  }
  expect_failures = [var.users]
}

run "latest_is_refused" {
  command = plan
  variables {
    image = "europe-west4-docker.pkg.dev/acme-ml-dev/kfgcp-docker/dashboard:latest"
  }
  expect_failures = [var.image]
}

run "a_secret_in_a_variable_is_refused" {
  command = plan
  variables {
    environment_variables = { KFGCP_TOKEN = "x" }
  }
  expect_failures = [var.environment_variables]
}

run "an_ingress_that_is_none_is_refused" {
  command = plan
  variables {
    ingress       = "public"
    max_instances = 0
  }
  expect_failures = [var.ingress, var.max_instances]
}
