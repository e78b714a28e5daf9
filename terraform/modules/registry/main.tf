# Repositories for images and for compiled pipelines, which clean up after themselves.

locals {
  labels = merge(var.labels, { component = "registry", managed_by = "terraform" })
  repositories = {
    docker = { format = "DOCKER", description = "Images of components." }
    kfp    = { format = "KFP", description = "Compiled pipelines, which schedules name." }
  }
  grants = merge([for repository, grants in var.iam : {
    for key, grant in grants : "${repository}/${key}" => merge(grant, { repository = repository })
  }]...)
}

resource "google_artifact_registry_repository" "this" {
  for_each               = local.repositories
  project                = var.project
  location               = var.location
  repository_id          = "${var.prefix}-${each.key}"
  format                 = each.value.format
  description            = each.value.description
  kms_key_name           = var.kms_key
  cleanup_policy_dry_run = var.cleanup_dry_run
  labels                 = merge(local.labels, { repository = each.key })

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = var.keep_recent
    }
  }

  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "${var.delete_untagged_after_days * 86400}s"
    }
  }

  dynamic "docker_config" {
    for_each = each.value.format == "DOCKER" ? [var.immutable_tags] : []
    content {
      immutable_tags = docker_config.value
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "this" {
  for_each   = local.grants
  project    = var.project
  location   = var.location
  repository = google_artifact_registry_repository.this[each.value.repository].name
  role       = each.value.role
  member     = each.value.member
}
