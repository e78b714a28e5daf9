mock_provider "google" {}

variables {
  project         = "acme-ml-dev"
  location        = "europe-west4"
  labels          = { environment = "dev", cost_center = "ml" }
  service_account = "kfgcp-scheduler@acme-ml-dev.iam.gserviceaccount.com"
  schedules = {
    churn = {
      cron     = "0 6 * * 1-5"
      template = "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp/churn/v1"
      runner   = "kfgcp-runner-growth@acme-ml-dev.iam.gserviceaccount.com"
      root     = "gs://acme-ml-dev-artifacts/growth"
      params   = "{\"lr\": 0.1, \"columns\": [\"a\", \"b\"]}"
    }
  }
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = output.requests["churn-daily"].uri == "https://europe-west4-aiplatform.googleapis.com/v1/projects/acme-ml-dev/locations/europe-west4/pipelineJobs"
    error_message = "That is where Vertex AI creates pipeline jobs."
  }
}

run "the_request_is_that_of_a_run" {
  command = plan
  assert {
    condition = jsondecode(output.requests["churn"].body) == {
      displayName    = "churn"
      templateUri    = "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp/churn/v1"
      serviceAccount = "kfgcp-runner-growth@acme-ml-dev.iam.gserviceaccount.com"
      labels = {
        component  = "scheduler", cost_center = "ml", env = "dev", environment = "dev", experiment = "default",
        managed_by = "terraform", schedule = "churn"
      }
      runtimeConfig = {
        gcsOutputDirectory = "gs://acme-ml-dev-artifacts/growth"
        parameterValues    = { lr = 0.1, columns = ["a", "b"] }
        failurePolicy      = "PIPELINE_FAILURE_POLICY_FAIL_SLOW"
      }
    }
    error_message = "It names the template, the runner, the folder and the parameters, and nothing that is null."
  }
  assert {
    condition     = google_cloud_scheduler_job.this["churn"].http_target[0].oauth_token[0].service_account_email == var.service_account && google_cloud_scheduler_job.this["churn"].schedule == "0 6 * * 1-5"
    error_message = "An access token of the scheduler's account, as Google's own APIs take it."
  }
}

run "network_and_key_are_in_the_request_when_given" {
  command = plan
  variables {
    schedules = {
      churn = {
        cron         = "0 6 * * *"
        template     = "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp/churn/v1"
        runner       = "r@acme-ml-dev.iam.gserviceaccount.com"
        root         = "gs://acme-ml-dev-artifacts/growth"
        psc          = "projects/acme-ml-dev/regions/europe-west4/networkAttachments/a"
        kms_key      = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
        failure_slow = false
      }
    }
  }
  assert {
    condition     = jsondecode(output.requests["churn"].body).pscInterfaceConfig.networkAttachment == "projects/acme-ml-dev/regions/europe-west4/networkAttachments/a" && jsondecode(output.requests["churn"].body).encryptionSpec.kmsKeyName == "projects/p/locations/l/keyRings/r/cryptoKeys/k" && jsondecode(output.requests["churn"].body).runtimeConfig.failurePolicy == "PIPELINE_FAILURE_POLICY_FAIL_FAST"
    error_message = "Field names are those of the REST reference of pipelineJobs."
  }
}

run "a_pipeline_outside_of_the_registry_is_refused" {
  command = plan
  variables {
    schedules = { churn = { cron = "0 6 * * *", template = "gs://b/churn.yaml", runner = "r@p.iam", root = "gs://b/r" } }
  }
  expect_failures = [var.schedules]
}

run "a_cron_with_six_fields_is_refused" {
  command = plan
  variables {
    schedules = { churn = { cron = "0 0 6 * * *", template = "https://l-kfp.pkg.dev/p/r/churn/v1", runner = "r@p.iam", root = "gs://b/r" } }
  }
  expect_failures = [var.schedules]
}

run "parameters_that_are_no_object_are_refused" {
  command = plan
  variables {
    schedules = { churn = { cron = "0 6 * * *", template = "https://l-kfp.pkg.dev/p/r/churn/v1", runner = "r@p.iam", root = "gs://b/r", params = "[1]" } }
  }
  expect_failures = [var.schedules]
}

run "a_root_on_a_disk_is_refused" {
  command = plan
  variables {
    schedules = { churn = { cron = "0 6 * * *", template = "https://l-kfp.pkg.dev/p/r/churn/v1", runner = "r@p.iam", root = "/tmp/r" } }
  }
  expect_failures = [var.schedules]
}
