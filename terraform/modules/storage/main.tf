# Buckets that are private whatever is asked for: uniform access, public access prevention, versions, lifecycle.

locals {
  labels = merge(var.labels, { component = "storage", managed_by = "terraform" })
  folders = merge([for name, bucket in var.buckets : {
    for folder in bucket.folders : "${name}/${folder}" => { bucket = name, folder = folder }
  }]...)
  bucket_grants = merge([for target, grants in var.iam : {
    for key, grant in grants : "${target}/${key}" => merge(grant, { bucket = target })
  } if !strcontains(target, "/")]...)
  folder_grants = merge([for target, grants in var.iam : {
    for key, grant in grants : "${target}/${key}" => merge(grant, { folder = target })
  } if strcontains(target, "/")]...)
}

resource "google_storage_bucket" "this" {
  for_each                    = var.buckets
  project                     = var.project
  name                        = "${var.project}-${each.key}"
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !(var.deletion_protection || each.value.keep)
  labels                      = merge(local.labels, { bucket = each.key })

  versioning {
    enabled = each.value.versioning
  }

  soft_delete_policy {
    retention_duration_seconds = each.value.soft_delete_days * 86400
  }

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.versioning ? [each.value] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        with_state                 = "ARCHIVED"
        num_newer_versions         = lifecycle_rule.value.noncurrent_versions
        days_since_noncurrent_time = lifecycle_rule.value.noncurrent_days
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.nearline_after_days == null ? [] : [each.value.nearline_after_days]
    content {
      action {
        type          = "SetStorageClass"
        storage_class = "NEARLINE"
      }
      condition {
        age                   = lifecycle_rule.value
        matches_storage_class = ["STANDARD"]
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.delete_after_days == null ? [] : [each.value]
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value.delete_after_days
        matches_prefix = [for folder in lifecycle_rule.value.delete_in : "${folder}/"]
        with_state     = "LIVE"
      }
    }
  }
}

# A managed folder has an access of its own, listing included; a condition on the bucket could not give that.
resource "google_storage_managed_folder" "this" {
  for_each      = local.folders
  bucket        = google_storage_bucket.this[each.value.bucket].name
  name          = "${each.value.folder}/"
  force_destroy = !var.deletion_protection
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = local.bucket_grants
  bucket   = google_storage_bucket.this[each.value.bucket].name
  role     = each.value.role
  member   = each.value.member
}

resource "google_storage_managed_folder_iam_member" "this" {
  for_each       = local.folder_grants
  bucket         = google_storage_managed_folder.this[each.value.folder].bucket
  managed_folder = google_storage_managed_folder.this[each.value.folder].name
  role           = each.value.role
  member         = each.value.member
}
