mock_provider "google" {}

variables {
  project = "acme-ml-dev"
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = contains(output.services, "aiplatform.googleapis.com") && contains(output.services, "cloudscheduler.googleapis.com")
    error_message = "Vertex AI and the scheduler need their APIs."
  }
}

run "no_part_costs_an_api_that_it_does_not_need" {
  command = apply
  assert {
    condition     = length(setintersection(output.services, ["container.googleapis.com", "sqladmin.googleapis.com", "compute.googleapis.com", "cloudbuild.googleapis.com"])) == 0
    error_message = "Vertex AI alone needs no cluster, database, network or builds."
  }
}

run "an_api_stays_on_when_the_environment_goes" {
  command = plan
  assert {
    condition     = alltrue([for service in google_project_service.this : !service.disable_on_destroy])
    error_message = "Others in the project may use it."
  }
}

run "a_part_that_is_not_known_is_refused" {
  command = plan
  variables {
    parts = ["airflow"]
  }
  expect_failures = [var.parts]
}

run "an_api_has_a_full_name" {
  command = plan
  variables {
    more = ["bigquery"]
  }
  expect_failures = [var.more]
}

run "a_project_number_is_no_id" {
  command = plan
  variables {
    project = "123456789012"
  }
  expect_failures = [var.project]
}

run "a_cluster_gets_the_apis_that_its_settings_need" {
  command = plan
  variables {
    parts = ["kubeflow"]
  }
  assert {
    condition     = length(setsubtract(["binaryauthorization.googleapis.com", "container.googleapis.com", "gkebackup.googleapis.com", "secretmanager.googleapis.com", "sqladmin.googleapis.com"], keys(google_project_service.this))) == 0
    error_message = "Binary authorization, backups, secrets and the database have an API each."
  }
}
