mock_provider "google" {}

variables {
  project                      = "acme-ml-dev"
  location                     = "europe-west1"
  environment                  = "dev"
  repository                   = "projects/acme-ml-dev/locations/europe-west1/connections/github/repositories/acme-pipelines"
  service_account              = "kfgcp-ci@acme-ml-dev.iam.gserviceaccount.com"
  pull_request_service_account = "kfgcp-ci-pr@acme-ml-dev.iam.gserviceaccount.com"
  artifact_bucket              = "acme-ml-dev-builds"
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = toset(keys(output.triggers)) == toset(["main", "tags", "pull_request"])
    error_message = "Main, tags and pull requests have a trigger each."
  }
}

run "main_and_tags_run_cloudbuild_yaml" {
  command = plan
  assert {
    condition     = alltrue([for trigger in google_cloudbuild_trigger.push : trigger.filename == "cloudbuild.yaml" && trigger.substitutions["_ARTIFACT_BUCKET"] == "acme-ml-dev-builds"])
    error_message = "They keep what they compile in the bucket."
  }
  assert {
    condition     = google_cloudbuild_trigger.push["main"].repository_event_config[0].push[0].branch == "^main$" && google_cloudbuild_trigger.push["tags"].repository_event_config[0].push[0].tag == "^v[0-9]+\\.[0-9]+\\.[0-9]+$"
    error_message = "The patterns match whole names."
  }
}

run "a_pull_request_is_built_by_an_account_of_its_own_when_asked_for" {
  command = plan
  assert {
    condition     = google_cloudbuild_trigger.pull_request.filename == "cloudbuild/pr.yaml" && endswith(google_cloudbuild_trigger.pull_request.service_account, "kfgcp-ci-pr@acme-ml-dev.iam.gserviceaccount.com")
    error_message = "pr.yaml, by the account that can only log."
  }
  assert {
    condition     = google_cloudbuild_trigger.pull_request.repository_event_config[0].pull_request[0].comment_control == "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
    error_message = "A stranger's code runs after an owner's comment."
  }
}

run "one_account_for_both_is_refused" {
  command = plan
  variables {
    pull_request_service_account = "kfgcp-ci@acme-ml-dev.iam.gserviceaccount.com"
  }
  expect_failures = [google_cloudbuild_trigger.pull_request]
}

run "a_pattern_that_matches_in_the_middle_is_refused" {
  command = plan
  variables {
    tag_pattern = "v1"
    main_branch = "main|.*"
  }
  expect_failures = [var.tag_pattern, var.main_branch]
}

run "a_url_is_no_connected_repository" {
  command = plan
  variables {
    repository = "https://github.com/acme/pipelines"
  }
  expect_failures = [var.repository]
}
