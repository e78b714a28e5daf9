mock_provider "google" {}

variables {
  project  = "acme-ml-dev"
  location = "europe-west4"
  labels   = { environment = "dev", cost_center = "ml" }
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = output.kfp_url == "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp"
    error_message = "That is the form Vertex AI takes."
  }
}

run "images_and_pipelines_have_a_repository_each" {
  command = plan
  assert {
    condition     = { for key, repository in google_artifact_registry_repository.this : key => repository.format } == { docker = "DOCKER", kfp = "KFP" }
    error_message = "The formats are DOCKER and KFP."
  }
  assert {
    condition     = alltrue([for key, repository in google_artifact_registry_repository.this : repository.labels["cost_center"] == "ml" && repository.labels["repository"] == key])
    error_message = "Labels attribute the cost."
  }
}

run "what_no_tag_names_goes_but_the_newest_stay" {
  command = plan
  variables {
    delete_untagged_after_days = 2
  }
  assert {
    condition = alltrue([for repository in google_artifact_registry_repository.this : [
      for policy in repository.cleanup_policies : policy.action
    ] == ["DELETE", "KEEP"] && !repository.cleanup_policy_dry_run])
    error_message = "Both repositories clean up, and keep."
  }
  assert {
    condition     = one([for policy in google_artifact_registry_repository.this["docker"].cleanup_policies : policy.condition[0].older_than if policy.action == "DELETE"]) == "172800s"
    error_message = "Two days are 172,800 seconds."
  }
}

run "tags_can_be_made_to_stay" {
  command = plan
  variables {
    immutable_tags = true
  }
  assert {
    condition     = google_artifact_registry_repository.this["docker"].docker_config[0].immutable_tags && length(google_artifact_registry_repository.this["kfp"].docker_config) == 0
    error_message = "Only images have the setting."
  }
}

run "a_repository_that_is_not_there_is_refused" {
  command = plan
  variables {
    iam = { python = {} }
  }
  expect_failures = [var.iam]
}

run "the_public_is_refused" {
  command = plan
  variables {
    iam = { docker = { all = { role = "roles/artifactregistry.reader", member = "allAuthenticatedUsers" } } }
  }
  expect_failures = [var.iam]
}

run "keeping_nothing_is_refused" {
  command = plan
  variables {
    keep_recent                = 0
    delete_untagged_after_days = 0
  }
  expect_failures = [var.keep_recent, var.delete_untagged_after_days]
}

run "a_prefix_that_is_no_name_is_refused" {
  command = plan
  variables {
    prefix = "My_Team"
  }
  expect_failures = [var.prefix]
}
