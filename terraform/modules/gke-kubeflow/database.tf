# Cloud SQL for MySQL holds the state of Kubeflow Pipelines. No secret is made here: secrets.sh makes the user's password
# and puts it into Secret Manager, so that none is in Terraform's state.

locals {
  databases = toset(["mlpipeline", "metadb", "cachedb"])
  secrets = {
    database     = "User and password of the database, as JSON"
    object-store = "HMAC key by which the API server stores pipelines in Cloud Storage, as JSON"
    oauth-client = "OAuth client of Identity-Aware Proxy, as JSON"
  }
}

resource "google_sql_database_instance" "this" {
  project             = var.project
  name                = local.name
  region              = var.location
  database_version    = "MYSQL_8_0"
  encryption_key_name = var.kms_key
  deletion_protection = var.deletion_protection
  depends_on          = [google_service_networking_connection.database]

  settings {
    edition                     = "ENTERPRISE"
    tier                        = var.database.tier
    disk_size                   = var.database.disk_gb
    disk_autoresize             = true
    availability_type           = var.database.highly_ready ? "REGIONAL" : "ZONAL"
    activation_policy           = var.stopped ? "NEVER" : "ALWAYS"
    deletion_protection_enabled = var.deletion_protection
    connector_enforcement       = "REQUIRED" # only by a connector, which needs roles/cloudsql.client
    user_labels                 = local.labels

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this.id
      ssl_mode        = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    }
    backup_configuration {
      enabled                        = true
      binary_log_enabled             = true # to any moment of the last week
      start_time                     = format("%02d:00", var.backup_hour)
      location                       = var.location
      transaction_log_retention_days = 7
      backup_retention_settings {
        retained_backups = var.database.backups
      }
    }
    database_flags {
      name  = "local_infile"
      value = "off"
    }
    database_flags { # the client of ML Metadata is older than the default
      name  = "default_authentication_plugin"
      value = "mysql_native_password"
    }
    maintenance_window {
      day          = 7
      hour         = 3
      update_track = "stable"
    }
    password_validation_policy {
      enable_password_policy      = true
      complexity                  = "COMPLEXITY_DEFAULT"
      disallow_username_substring = true
      min_length                  = 24
    }
  }
  lifecycle {
    ignore_changes = [settings[0].disk_size]
  }
}

resource "google_sql_database" "this" {
  for_each        = local.databases
  project         = var.project
  name            = each.value
  instance        = google_sql_database_instance.this.name
  charset         = "utf8mb4"
  deletion_policy = "ABANDON"
}

resource "google_secret_manager_secret" "this" {
  for_each    = local.secrets
  project     = var.project
  secret_id   = "${local.name}-${each.key}"
  labels      = local.labels
  annotations = { holds = each.value }
  replication {
    user_managed {
      replicas {
        location = var.location
        dynamic "customer_managed_encryption" {
          for_each = var.kms_key == null ? [] : [var.kms_key]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = google_secret_manager_secret.this
  project   = var.project
  secret_id = each.value.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${var.pod_service_accounts["secret-reader"]}"
}
