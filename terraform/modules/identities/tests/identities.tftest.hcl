mock_provider "google" {}

variables {
  project = "acme-ml-dev"
  teams   = { growth = ["group:growth@acme.example"], fraud = ["user:ada@acme.example"] }
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = toset(keys(output.grants)) == toset(["artifacts", "artifacts/fraud", "artifacts/growth", "docker", "kfp"])
    error_message = "Each team has a folder; nothing is granted on what is not there."
  }
}

run "a_team_has_its_own_runner_and_only_that" {
  command = apply
  assert {
    condition     = toset(keys(google_service_account.this)) == toset(["runner-fraud", "runner-growth"])
    error_message = "Vertex AI alone needs the runners and no other account."
  }
  assert {
    condition = { for key, grant in google_service_account_iam_member.act_as : key => grant.service_account_id } == {
      "fraud/user:ada@acme.example:runner-fraud"       = google_service_account.this["runner-fraud"].name
      "growth/group:growth@acme.example:runner-growth" = google_service_account.this["runner-growth"].name
    }
    error_message = "A member acts as the runner of the own team."
  }
  assert {
    condition     = output.grants["artifacts/growth"]["runner-growth:roles/storage.objectUser"].member == "serviceAccount:kfgcp-runner-growth@acme-ml-dev.iam.gserviceaccount.com" && !can(output.grants["artifacts/growth"]["runner-fraud:roles/storage.objectUser"])
    error_message = "A runner writes to the folder of its team."
  }
}

run "nobody_acts_as_all_accounts_or_has_a_primitive_role" {
  command = apply
  variables {
    parts   = ["ci", "dashboard", "kubeflow", "scheduler", "submitter"]
    viewers = ["group:risk@acme.example"]
  }
  assert {
    condition = length(setintersection(
      [for grant in google_project_iam_member.this : grant.role],
      ["roles/owner", "roles/editor", "roles/viewer", "roles/iam.serviceAccountUser", "roles/iam.serviceAccountTokenCreator", "roles/storage.admin", "roles/aiplatform.admin"],
    )) == 0
    error_message = "No primitive role, no act-as on the project, nothing that administers."
  }
  assert {
    condition     = length([for key in keys(google_service_account_iam_member.act_as) : key if startswith(key, "viewers/") || startswith(key, "ci") || startswith(key, "dashboard")]) == 0
    error_message = "Who only looks or builds acts as nobody."
  }
  assert {
    condition     = length([for grant in values(output.grants["artifacts"]) : grant if contains(["roles/storage.objectUser", "roles/storage.objectAdmin"], grant.role)]) == 0
    error_message = "Nobody writes to the whole bucket."
  }
  assert {
    condition     = output.grants["artifacts/fraud"]["submitter:roles/storage.objectUser"].role == "roles/storage.objectUser"
    error_message = "The submitter belongs to no team and writes to the folders of all."
  }
}

run "what_starts_a_schedule_can_start_a_job_and_not_delete_one" {
  command = plan
  variables {
    parts = ["scheduler"]
  }
  assert {
    condition     = google_project_iam_custom_role.this["job_starter"].permissions == toset(["aiplatform.pipelineJobs.create", "aiplatform.pipelineJobs.get"])
    error_message = "It creates, and reads what it created."
  }
  assert {
    condition     = !contains(keys(google_project_iam_custom_role.this), "cluster_switch")
    error_message = "A role that nobody has is not made."
  }
}

run "pull_requests_build_without_a_right_to_write" {
  command = apply
  variables {
    parts = ["ci"]
  }
  assert {
    condition     = [for key, grant in google_project_iam_member.this : grant.role if startswith(key, "ci-pr:")] == ["roles/logging.logWriter"] && length([for grants in values(output.grants) : grants if length([for key in keys(grants) : key if startswith(key, "ci-pr:")]) > 0]) == 0
    error_message = "They write their log."
  }
}

run "builds_of_main_add_to_their_bucket_and_do_nothing_else" {
  command = apply
  variables {
    parts = ["ci"]
  }
  assert {
    condition     = [for key, grant in google_project_iam_member.this : grant.role if startswith(key, "ci:")] == ["roles/logging.logWriter"]
    error_message = "In the project they write their log."
  }
  assert {
    condition = { for target, grants in output.grants : target => sort([for key, grant in grants : grant.role if startswith(key, "ci:")]) if length([for key in keys(grants) : key if startswith(key, "ci:")]) > 0 } == {
      builds = tolist(["roles/storage.objectCreator", "roles/storage.objectViewer"])
    }
    error_message = "cloudbuild.yaml pushes no image and no pipeline, and who could move a tag that a schedule names would run as a runner."
  }
}

run "pods_are_bound_by_workload_identity" {
  command = apply
  variables {
    parts = ["kubeflow"]
  }
  assert {
    condition     = google_service_account_iam_member.pod["pipeline-runner"].member == "serviceAccount:acme-ml-dev.svc.id.goog[kubeflow/pipeline-runner]" && output.pods["pipeline-runner"] == "kfgcp-kfp-runner@acme-ml-dev.iam.gserviceaccount.com"
    error_message = "The pod's service account, in its namespace, and no other."
  }
  assert {
    condition     = length([for grant in values(output.grants["kubeflow"]) : grant if startswith(grant.role, "roles/")]) == 0
    error_message = "Nobody reads or writes the whole bucket, where the dumps of the database are."
  }
}

run "a_federated_ci_system_is_let_in_by_attribute" {
  command = apply
  variables {
    parts = ["submitter"]
    federation = {
      issuer_uri = "https://ci.acme.example"
      condition  = "assertion.repository == 'acme/pipelines'"
      attribute  = "repository/acme/pipelines"
    }
  }
  assert {
    condition     = endswith(google_service_account_iam_member.federated[0].member, "/attribute.repository/acme/pipelines")
    error_message = "The repository comes in, not the whole issuer."
  }
}

run "federation_without_a_condition_is_refused" {
  command = plan
  variables {
    parts      = ["submitter"]
    federation = { issuer_uri = "https://ci.acme.example", condition = "", attribute = "repository/acme/pipelines" }
  }
  expect_failures = [var.federation]
}

run "federation_for_everybody_is_refused" {
  command = plan
  variables {
    parts      = ["submitter"]
    federation = { issuer_uri = "https://ci.acme.example", condition = "true", attribute = "repository/*" }
  }
  expect_failures = [var.federation]
}

run "a_condition_that_looks_at_nothing_is_refused" {
  command = plan
  variables {
    parts      = ["submitter"]
    federation = { issuer_uri = "https://ci.acme.example", condition = "true", attribute = "repository/acme/pipelines" }
  }
  expect_failures = [var.federation]
}

run "an_attribute_that_no_token_is_given_is_refused" {
  command = plan
  variables {
    parts      = ["submitter"]
    federation = { issuer_uri = "https://ci.acme.example", condition = "assertion.ref == 'refs/heads/main'", attribute = "repo/acme/pipelines" }
  }
  expect_failures = [var.federation]
}

run "the_public_is_no_team" {
  command = plan
  variables {
    teams   = { growth = ["allUsers"] }
    viewers = ["allAuthenticatedUsers"]
  }
  expect_failures = [var.teams, var.viewers]
}

run "a_part_without_identities_is_refused" {
  command = plan
  variables {
    parts = ["airflow"]
  }
  expect_failures = [var.parts]
}
