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
  environment = "dev"
  cost_center = "ml"
  teams       = { growth = ["group:growth@acme.example"] }
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = output.kfgcp_environments["growth"].backend == "vertex" && output.kfgcp_environments["growth"].pipeline_root == "gs://acme-ml-dev-artifacts/growth"
    error_message = "A team runs on Vertex AI and writes to its folder."
  }
}

run "vertex_alone_is_all_that_is_made_unless_more_is_asked_for" {
  command = apply
  assert {
    condition     = length(module.kubeflow) == 0 && length(module.ci) == 0 && length(module.dashboard) == 0 && length(module.scheduler) == 0
    error_message = "What is not asked for costs nothing."
  }
  assert {
    condition     = toset(keys(output.kfgcp_environments)) == toset(["growth"]) && output.kfgcp_environments["growth"].labels == { team = "growth", environment = "dev", cost_center = "ml" }
    error_message = "One environment, whose runs carry the labels of its cost."
  }
  assert {
    condition     = output.kfgcp_environments["growth"].service_account == "kfgcp-runner-growth@acme-ml-dev.iam.gserviceaccount.com"
    error_message = "Its runs have the identity of the team's runner."
  }
  assert {
    condition     = !can(output.kfgcp_environments["growth"].network) && !can(output.kfgcp_environments["growth"].encryption_key)
    error_message = "What is null is left out, for kfgcp.toml has no null."
  }
}

run "all_of_it_fits_together" {
  command = apply
  variables {
    teams     = { growth = ["group:growth@acme.example"], fraud = ["group:fraud@acme.example"] }
    viewers   = ["group:risk@acme.example"]
    kms_key   = "projects/acme-ml-dev/locations/europe-west4/keyRings/r/cryptoKeys/k"
    network   = { psc = true }
    schedules = { churn = { team = "fraud", cron = "0 6 * * *", template = "churn/v1" } }
    ci        = { repository = "projects/p/locations/l/connections/c/repositories/r" }
    dashboard = { image = "europe-west4-docker.pkg.dev/acme-ml-dev/kfgcp-docker/dashboard:v1" }
    kubeflow  = { host = "kfp.acme.example", iap_client_id = "1-x.apps.googleusercontent.com", task_pool = { spot = true } }
    federation = {
      issuer_uri = "https://ci.acme.example"
      condition  = "assertion.repository == 'acme/pipelines'"
      attribute  = "repository/acme/pipelines"
    }
    monitoring = { emails = ["ml-ops@acme.example"], budget = { billing_account = "012345-6789AB-CDEF01", amount = 500 } }
  }
  assert {
    condition     = toset(keys(output.kfgcp_environments)) == toset(["growth", "fraud", "growth-kubeflow", "fraud-kubeflow"])
    error_message = "Each team has an environment on both backends."
  }
  assert {
    condition     = output.kfgcp_environments["fraud-kubeflow"].iap_client_id == "1-x.apps.googleusercontent.com" && output.kfgcp_environments["fraud-kubeflow"].host == "https://kfp.acme.example" && output.kfgcp_environments["fraud"].psc_network_attachment != null
    error_message = "Host, client and network are in kfgcp.toml."
  }
  assert {
    condition     = jsondecode(output.scheduled_requests["churn"].body).templateUri == "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp/churn/v1" && jsondecode(output.scheduled_requests["churn"].body).runtimeConfig.gcsOutputDirectory == "gs://acme-ml-dev-artifacts/fraud" && jsondecode(output.scheduled_requests["churn"].body).encryptionSpec.kmsKeyName == var.kms_key
    error_message = "A schedule writes to the folder of its team, with the key."
  }
}

run "who_may_change_nothing_gets_into_the_dashboard_and_not_into_kubeflow" {
  command = apply
  variables {
    viewers   = ["group:risk@acme.example"]
    dashboard = { image = "europe-west4-docker.pkg.dev/acme-ml-dev/kfgcp-docker/dashboard:v1" }
    kubeflow  = { host = "kfp.acme.example", iap_client_id = "1-x.apps.googleusercontent.com" }
  }
  assert {
    condition     = module.kubeflow[0].users == toset(["group:growth@acme.example"])
    error_message = "Kubeflow for one user lets in who may do everything there."
  }
  assert {
    condition     = module.dashboard[0].users == toset(["group:growth@acme.example", "group:risk@acme.example"])
    error_message = "The dashboard only shows."
  }
}

run "a_schedule_of_a_team_that_is_not_there_is_refused" {
  command = plan
  variables {
    schedules = { churn = { team = "nobody", cron = "0 6 * * *", template = "churn/v1" } }
  }
  expect_failures = [var.schedules]
}

run "a_client_that_is_none_is_refused" {
  command = plan
  variables {
    kubeflow = { host = "kfp.acme.example", iap_client_id = "1-x" }
  }
  expect_failures = [var.kubeflow]
}

run "an_environment_without_a_name_is_refused" {
  command = plan
  variables {
    environment = "Dev"
    cost_center = "ML & AI"
  }
  expect_failures = [var.environment, var.cost_center]
}
