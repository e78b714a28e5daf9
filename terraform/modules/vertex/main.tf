# Vertex AI: the metadata store, an alert when a quota is met, and a network when one is wanted.

locals {
  labels = merge(var.labels, { component = "vertex", managed_by = "terraform" })
}

resource "google_vertex_ai_metadata_store" "default" {
  provider    = google-beta
  count       = var.metadata_store ? 1 : 0
  project     = var.project
  region      = var.location
  name        = "default"
  description = "Artifacts and executions of pipeline runs"

  dynamic "encryption_spec" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      kms_key_name = encryption_spec.value
    }
  }
}

resource "google_monitoring_alert_policy" "quota" {
  project               = var.project
  display_name          = "${var.prefix}: a quota of Vertex AI is met"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = var.notification_channels
  user_labels           = local.labels

  conditions {
    display_name = "requests refused for their quota"
    condition_threshold {
      filter          = "metric.type = \"serviceruntime.googleapis.com/quota/exceeded\" AND resource.type = \"consumer_quota\" AND resource.label.service = \"aiplatform.googleapis.com\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_COUNT_TRUE"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["metric.label.quota_metric"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Runs wait or fail. Ask for more in the console under IAM & Admin, Quotas, service aiplatform.googleapis.com, or run less at the same time."
  }
}
