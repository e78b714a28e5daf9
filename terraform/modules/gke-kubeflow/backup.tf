# Backup for GKE keeps what is in the cluster. Cloud SQL keeps the database, see database.tf; a dump in the bucket outlives
# the instance too.

locals {
  backup_weekdays = var.working_hours == null ? "*" : split(" ", var.working_hours.start)[4]
}

resource "google_gke_backup_backup_plan" "this" {
  project  = var.project
  name     = local.name
  location = var.location
  cluster  = google_container_cluster.this.id
  labels   = local.labels

  backup_config {
    include_volume_data = true
    include_secrets     = false # they are in Secret Manager, from where they come back
    selected_namespaces {
      namespaces = ["kubeflow"]
    }
    dynamic "encryption_key" {
      for_each = var.kms_key == null ? [] : [var.kms_key]
      content {
        gcp_kms_encryption_key = encryption_key.value
      }
    }
  }
  backup_schedule {
    cron_schedule = "30 ${var.backup_hour} * * ${local.backup_weekdays}"
    paused        = var.stopped
  }
  retention_policy {
    backup_delete_lock_days = 7
    backup_retain_days      = var.backup_days + 7
  }
}

resource "google_cloud_scheduler_job" "dump" {
  project          = var.project
  region           = var.location
  name             = "${local.name}-dump"
  description      = "Has the databases of Kubeflow Pipelines dumped into the bucket, whose versions are the older dumps"
  schedule         = "0 ${var.backup_hour + 3} * * ${local.backup_weekdays}"
  time_zone        = "Etc/UTC"
  paused           = var.stopped
  attempt_deadline = "60s"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "300s"
  }
  http_target {
    http_method = "POST"
    uri         = "${local.sql}/export"
    headers     = { "Content-Type" = "application/json" }
    body = base64encode(jsonencode({ exportContext = {
      fileType  = "SQL"
      uri       = "gs://${var.bucket}/${google_storage_managed_folder.dumps.name}kubeflow.sql.gz"
      databases = sort(local.databases)
      offload   = false
    } }))
    oauth_token {
      service_account_email = var.dump_service_account
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}

# The instance writes the dump by its own account, and may write nothing else; nobody else gets at the folder.
resource "google_storage_managed_folder" "dumps" {
  bucket        = var.bucket
  name          = "dumps/"
  force_destroy = !var.deletion_protection
}

resource "google_storage_managed_folder_iam_member" "dump" {
  bucket         = google_storage_managed_folder.dumps.bucket
  managed_folder = google_storage_managed_folder.dumps.name
  role           = "roles/storage.objectUser"
  member         = "serviceAccount:${google_sql_database_instance.this.service_account_email_address}"
}
