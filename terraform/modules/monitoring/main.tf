# What is measured, who is told, and the budget. The alerts are in alerts.tf, the dashboard in dashboard.tf.

locals {
  labels   = merge(var.labels, { component = "monitoring", managed_by = "terraform" })
  channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  common = {
    env      = "Environment of kfgcp.toml"
    backend  = "local, vertex or kubeflow"
    pipeline = "Name of the pipeline"
  }
  # The metrics of kfgcp. A run or task writes one point when it ends, so all of them are gauges.
  metrics = {
    run_count     = { value = "INT64", unit = "1", labels = { state = "SUCCEEDED, FAILED or CANCELLED" }, description = "1 for each run that ended" }
    run_duration  = { value = "DOUBLE", unit = "s", labels = { state = "SUCCEEDED, FAILED or CANCELLED" }, description = "Seconds from a run's start to its end" }
    task_duration = { value = "DOUBLE", unit = "s", labels = { task = "Path of the task", state = "Its state" }, description = "Seconds from a task's start to its end" }
    task_retries  = { value = "INT64", unit = "1", labels = { task = "Path of the task" }, description = "Attempts of a task after the first" }
    cache_hits    = { value = "INT64", unit = "1", labels = {}, description = "Tasks of a run that were taken from the cache" }
    metric_value  = { value = "DOUBLE", unit = "1", labels = { task = "Path of the task", artifact = "Name of the artifact", metric = "Name of the metric" }, description = "A metric that a task reported" }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = toset(var.emails)
  project      = var.project
  display_name = each.value
  type         = "email"
  labels       = { email_address = each.value }
  user_labels  = local.labels
}

# An alert on a metric that was never written is refused, so the metrics are described first.
resource "google_monitoring_metric_descriptor" "this" {
  for_each     = local.metrics
  project      = var.project
  type         = "custom.googleapis.com/kfgcp/${each.key}"
  display_name = "kfgcp ${replace(each.key, "_", " ")}"
  description  = each.value.description
  metric_kind  = "GAUGE"
  value_type   = each.value.value
  unit         = each.value.unit

  dynamic "labels" {
    for_each = merge(local.common, each.value.labels)
    content {
      key         = labels.key
      value_type  = "STRING"
      description = labels.value
    }
  }
}

resource "google_logging_metric" "vertex_states" {
  project     = var.project
  name        = "${var.prefix}/vertex_states"
  description = "Ends of Vertex AI pipeline jobs by state, from the service's own events"
  filter      = "resource.type=\"aiplatform.googleapis.com/PipelineJob\" AND jsonPayload.state=~\"PIPELINE_STATE_(SUCCEEDED|FAILED|CANCELLED)\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
    labels {
      key         = "state"
      value_type  = "STRING"
      description = "The state that the job ended in"
    }
  }
  label_extractors = { state = "REGEXP_EXTRACT(jsonPayload.state, \"PIPELINE_STATE_(.*)\")" }
}

resource "google_pubsub_topic" "budget" {
  count   = var.budget == null ? 0 : 1
  project = var.project
  name    = "${var.prefix}-budget"
  labels  = local.labels
}

data "google_project" "this" {
  count      = var.budget == null ? 0 : 1
  project_id = var.project
}

resource "google_billing_budget" "this" {
  count           = var.budget == null ? 0 : 1
  billing_account = var.budget.billing_account
  display_name    = "${var.prefix} ${var.project}"

  budget_filter {
    projects = ["projects/${data.google_project.this[0].number}"] # an id would be told as a change for ever
  }
  amount {
    specified_amount {
      currency_code = var.budget.currency
      units         = tostring(var.budget.amount)
    }
  }
  dynamic "threshold_rules" {
    for_each = var.budget.thresholds
    content {
      threshold_percent = threshold_rules.value
      spend_basis       = "CURRENT_SPEND"
    }
  }
  all_updates_rule {
    pubsub_topic                     = google_pubsub_topic.budget[0].id
    monitoring_notification_channels = local.channels
    disable_default_iam_recipients   = false
  }
}
