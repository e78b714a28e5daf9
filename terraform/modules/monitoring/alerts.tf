locals {
  hour = "3600s"
  # Each alert on a metric of kfgcp: what is counted, over how long, and when it is too much.
  ours = merge(
    {
      failed_runs = {
        title   = "runs failed", metric = "run_count", where = "metric.label.state = \"FAILED\"", by = ["metric.label.env", "metric.label.pipeline"],
        aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", period = "300s", comparison = "COMPARISON_GT", threshold = 0
        advice  = "kfgcp list --state FAILED, then kfgcp show RUN: its error names the task and the end of its log."
      }
    },
    var.slow_run_seconds == null ? {} : {
      slow_runs = {
        title   = "a run took long", metric = "run_duration", where = "", by = ["metric.label.env", "metric.label.pipeline"],
        aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", period = "300s", comparison = "COMPARISON_GT", threshold = var.slow_run_seconds
        advice  = "kfgcp compare RUN with an earlier one shows which task took longer."
      }
    },
    var.slow_task_seconds == null ? {} : {
      slow_tasks = {
        title   = "a task took long", metric = "task_duration", where = "", by = ["metric.label.pipeline", "metric.label.task"],
        aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", period = "300s", comparison = "COMPARISON_GT", threshold = var.slow_task_seconds
        advice  = "kfgcp logs RUN TASK shows what it did."
      }
    },
    var.retries_an_hour == null ? {} : {
      retries = {
        title   = "tasks are retried often", metric = "task_retries", where = "", by = ["metric.label.pipeline"],
        aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", period = local.hour, comparison = "COMPARISON_GT", threshold = var.retries_an_hour
        advice  = "Each retry is paid for. kfgcp show RUN lists the attempts of each task."
      }
    },
    { for name, bound in var.quality : "quality_${name}" => {
      title      = "${bound.metric} of ${bound.pipeline} is ${bound.below == null ? "above ${bound.above}" : "below ${bound.below}"}",
      metric     = "metric_value", where = "metric.label.pipeline = \"${bound.pipeline}\" AND metric.label.metric = \"${bound.metric}\"", by = ["metric.label.env"],
      aligner    = bound.below == null ? "ALIGN_MAX" : "ALIGN_MIN", reducer = bound.below == null ? "REDUCE_MAX" : "REDUCE_MIN", period = "300s",
      comparison = bound.below == null ? "COMPARISON_GT" : "COMPARISON_LT", threshold = bound.below == null ? bound.above : bound.below
      advice     = "kfgcp compare shows what changed since the last good run."
    } },
  )
}

resource "google_monitoring_alert_policy" "vertex_failed" {
  project               = var.project
  display_name          = "${var.prefix}: a pipeline job of Vertex AI failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "the service says PIPELINE_STATE_FAILED"
    condition_matched_log {
      filter           = "resource.type=\"aiplatform.googleapis.com/PipelineJob\" AND jsonPayload.state=\"PIPELINE_STATE_FAILED\""
      label_extractors = { job = "EXTRACT(resource.labels.pipeline_job_id)" }
    }
  }
  alert_strategy {
    auto_close = "86400s"
    notification_rate_limit {
      period = "300s"
    }
  }
  documentation {
    mime_type = "text/markdown"
    content   = "Also when nobody watches the run: the event is the service's own. kfgcp show JOB says which task failed."
  }
}

resource "google_monitoring_alert_policy" "ours" {
  for_each              = local.ours
  project               = var.project
  display_name          = "${var.prefix}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.key == "failed_runs" ? "ERROR" : "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels
  depends_on            = [google_monitoring_metric_descriptor.this]

  conditions {
    display_name = each.value.title
    condition_threshold {
      filter          = join(" AND ", compact(["metric.type = \"custom.googleapis.com/kfgcp/${each.value.metric}\"", "resource.type = \"global\"", each.value.where]))
      comparison      = each.value.comparison
      threshold_value = each.value.threshold
      duration        = "0s"
      aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
        group_by_fields      = each.value.by
      }
    }
  }
  alert_strategy {
    auto_close = "86400s"
  }
  documentation {
    mime_type = "text/markdown"
    content   = each.value.advice
  }
}

resource "google_monitoring_alert_policy" "silent" {
  for_each              = var.expected_runs
  project               = var.project
  display_name          = "${var.prefix}: ${each.key} has not run for ${each.value} h"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels
  depends_on            = [google_monitoring_metric_descriptor.this]

  conditions {
    display_name = "no run of ${each.key} has ended"
    condition_absent {
      filter   = "metric.type = \"custom.googleapis.com/kfgcp/run_count\" AND resource.type = \"global\" AND metric.label.pipeline = \"${each.key}\""
      duration = "${each.value * 3600}s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }
  documentation {
    mime_type = "text/markdown"
    content   = "Is its schedule paused, or does its job in Cloud Scheduler fail?"
  }
}
