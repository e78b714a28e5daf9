mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789" }
  }
  mock_resource "google_monitoring_notification_channel" {
    defaults = { id = "projects/acme-ml-dev/notificationChannels/1" }
  }
}

variables {
  project = "acme-ml-dev"
  labels  = { environment = "dev", cost_center = "ml" }
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = output.metrics["metric_value"] == { type = "custom.googleapis.com/kfgcp/metric_value", labels = tolist(["artifact", "backend", "env", "metric", "pipeline", "task"]) }
    error_message = "A value is known by the task, artifact and metric that it comes from."
  }
}

run "the_six_metrics_of_kfgcp_are_described" {
  command = plan
  assert {
    condition = toset([for descriptor in google_monitoring_metric_descriptor.this : descriptor.type]) == toset([
      "custom.googleapis.com/kfgcp/run_count", "custom.googleapis.com/kfgcp/run_duration", "custom.googleapis.com/kfgcp/task_duration",
      "custom.googleapis.com/kfgcp/task_retries", "custom.googleapis.com/kfgcp/cache_hits", "custom.googleapis.com/kfgcp/metric_value",
    ])
    error_message = "These are what kfgcp writes."
  }
  assert {
    condition     = google_monitoring_metric_descriptor.this["run_duration"].unit == "s" && alltrue([for descriptor in google_monitoring_metric_descriptor.this : descriptor.metric_kind == "GAUGE"])
    error_message = "Durations are seconds; a point stands for a run or task that ended."
  }
}

run "a_failure_is_told_by_the_service_and_by_kfgcp" {
  command = apply
  variables {
    emails = ["ml-ops@acme.example"]
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.vertex_failed.conditions[0].condition_matched_log[0].filter, "PIPELINE_STATE_FAILED") && google_monitoring_alert_policy.vertex_failed.notification_channels == tolist(["projects/acme-ml-dev/notificationChannels/1"])
    error_message = "The service's own event, to the channels."
  }
  assert {
    condition     = google_monitoring_alert_policy.ours["failed_runs"].conditions[0].condition_threshold[0].filter == "metric.type = \"custom.googleapis.com/kfgcp/run_count\" AND resource.type = \"global\" AND metric.label.state = \"FAILED\""
    error_message = "Runs on every backend."
  }
  assert {
    condition     = google_monitoring_alert_policy.ours["failed_runs"].user_labels["cost_center"] == "ml"
    error_message = "Alerts carry the labels too."
  }
}

run "only_what_is_asked_for_is_told" {
  command = plan
  variables {
    retries_an_hour = null
  }
  assert {
    condition     = toset(keys(google_monitoring_alert_policy.ours)) == toset(["failed_runs"]) && length(google_monitoring_alert_policy.silent) == 0 && length(google_billing_budget.this) == 0
    error_message = "Failures are always told, the rest when wanted."
  }
}

run "bounds_of_quality_go_the_right_way" {
  command = plan
  variables {
    quality = {
      low  = { pipeline = "churn", metric = "accuracy", below = 0.9 }
      high = { pipeline = "churn", metric = "loss", above = 2 }
    }
  }
  assert {
    condition     = google_monitoring_alert_policy.ours["quality_low"].conditions[0].condition_threshold[0].comparison == "COMPARISON_LT" && google_monitoring_alert_policy.ours["quality_low"].conditions[0].condition_threshold[0].threshold_value == 0.9
    error_message = "Below 0.9."
  }
  assert {
    condition     = google_monitoring_alert_policy.ours["quality_high"].conditions[0].condition_threshold[0].comparison == "COMPARISON_GT" && google_monitoring_alert_policy.ours["quality_high"].conditions[0].condition_threshold[0].aggregations[0].per_series_aligner == "ALIGN_MAX"
    error_message = "Above 2, and one high value is enough."
  }
}

run "silence_is_told_in_seconds" {
  command = plan
  variables {
    expected_runs = { churn = 2 }
  }
  assert {
    condition     = google_monitoring_alert_policy.silent["churn"].conditions[0].condition_absent[0].duration == "7200s"
    error_message = "Two hours."
  }
}

run "the_dashboard_shows_all_metrics_side_by_side" {
  command = plan
  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles) == 7 && alltrue([for tile in jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles : tile.xPos + tile.width <= 12])
    error_message = "Six metrics of kfgcp and the service's own, in twelve columns."
  }
}

run "a_budget_tells_people_and_a_topic" {
  command = apply
  variables {
    emails = ["ml-ops@acme.example"]
    budget = { billing_account = "012345-6789AB-CDEF01", amount = 500 }
  }
  assert {
    condition     = google_billing_budget.this[0].amount[0].specified_amount[0].units == "500" && length(google_billing_budget.this[0].threshold_rules) == 3 && output.budget_topic != null
    error_message = "500 a month, told at a half, at nine tenths and at the whole."
  }
  assert {
    condition     = google_billing_budget.this[0].amount[0].specified_amount[0].currency_code == null
    error_message = "Of the billing account's currency, whichever that is."
  }
  assert {
    condition     = google_billing_budget.this[0].budget_filter[0].projects == toset(["projects/123456789"])
    error_message = "Of this project, by its number."
  }
}

run "half_an_amount_is_refused" {
  command = plan
  variables {
    budget = { billing_account = "012345-6789AB-CDEF01", amount = 0.5 }
  }
  expect_failures = [var.budget]
}

run "two_bounds_at_once_are_refused" {
  command = plan
  variables {
    quality = { both = { pipeline = "churn", metric = "loss", above = 2, below = 1 } }
  }
  expect_failures = [var.quality]
}

run "a_day_of_silence_is_too_long" {
  command = plan
  variables {
    expected_runs = { churn = 24 }
  }
  expect_failures = [var.expected_runs]
}

run "an_address_without_a_domain_is_refused" {
  command = plan
  variables {
    emails = ["ops"]
  }
  expect_failures = [var.emails]
}
