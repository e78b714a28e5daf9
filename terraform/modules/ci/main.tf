# Cloud Build: what is on main and what is tagged is built and kept; what is proposed is checked, by an account that
# can write nothing but its log, and what a stranger proposes only after somebody with a right to the repository asked.

locals {
  push = {
    main = { branch = "^${replace(var.main_branch, ".", "\\.")}$", tag = null }
    tags = { branch = null, tag = var.tag_pattern }
  }
}

resource "google_cloudbuild_trigger" "push" {
  for_each        = local.push
  project         = var.project
  location        = var.location
  name            = "${var.prefix}-${each.key}"
  description     = "cloudbuild.yaml on ${each.key}"
  filename        = "cloudbuild.yaml"
  service_account = "projects/${var.project}/serviceAccounts/${var.service_account}"
  tags            = [var.prefix, var.environment, each.key]
  substitutions   = { _ARTIFACT_BUCKET = var.artifact_bucket }

  repository_event_config {
    repository = var.repository
    push {
      branch = each.value.branch
      tag    = each.value.tag
    }
  }
}

resource "google_cloudbuild_trigger" "pull_request" {
  project            = var.project
  location           = var.location
  name               = "${var.prefix}-pull-request"
  description        = "cloudbuild/pr.yaml on pull requests"
  filename           = "cloudbuild/pr.yaml"
  service_account    = "projects/${var.project}/serviceAccounts/${var.pull_request_service_account}"
  tags               = [var.prefix, var.environment, "pull-request"]
  include_build_logs = "INCLUDE_BUILD_LOGS_WITH_STATUS"

  repository_event_config {
    repository = var.repository
    pull_request {
      branch          = "^${replace(var.main_branch, ".", "\\.")}$"
      comment_control = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
    }
  }

  lifecycle {
    precondition {
      condition     = var.pull_request_service_account != var.service_account
      error_message = "Pull requests need a service account of their own: their code was read by nobody."
    }
  }
}
