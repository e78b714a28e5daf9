locals {
  tiles = [
    { title = "Runs that ended, by state", metric = "run_count", by = ["metric.label.state"], aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", plot = "STACKED_BAR" },
    { title = "Duration of runs (s)", metric = "run_duration", by = ["metric.label.pipeline"], aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", plot = "LINE" },
    { title = "Duration of tasks (s)", metric = "task_duration", by = ["metric.label.task"], aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", plot = "LINE" },
    { title = "Retries", metric = "task_retries", by = ["metric.label.pipeline"], aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", plot = "STACKED_BAR" },
    { title = "Tasks from the cache", metric = "cache_hits", by = ["metric.label.pipeline"], aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", plot = "STACKED_BAR" },
    { title = "Metrics of pipelines", metric = "metric_value", by = ["metric.label.pipeline", "metric.label.metric"], aligner = "ALIGN_MEAN", reducer = "REDUCE_MEAN", plot = "LINE" },
  ]
  charts = concat(
    [for tile in local.tiles : {
      title = tile.title, filter = "metric.type=\"custom.googleapis.com/kfgcp/${tile.metric}\" resource.type=\"global\"",
      by    = tile.by, aligner = tile.aligner, reducer = tile.reducer, plot = tile.plot
    }],
    [{
      title = "Vertex AI: jobs that ended, by state", filter = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.vertex_states.name}\"",
      by    = ["metric.label.state"], aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM", plot = "STACKED_BAR"
    }],
  )
}

resource "google_monitoring_dashboard" "this" {
  project    = var.project
  depends_on = [google_monitoring_metric_descriptor.this]
  dashboard_json = jsonencode({
    displayName = "${var.prefix} pipelines"
    labels      = { for key, value in local.labels : key => value }
    mosaicLayout = {
      columns = 12
      tiles = [for number, chart in local.charts : {
        xPos = number % 2 * 6, yPos = floor(number / 2) * 4, width = 6, height = 4
        widget = {
          title = chart.title
          xyChart = {
            dataSets = [{
              plotType       = chart.plot
              targetAxis     = "Y1"
              legendTemplate = join(" ", [for field in chart.by : "$${${replace(field, "metric.label.", "metric.labels.")}}"])
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter      = chart.filter
                  aggregation = { alignmentPeriod = "300s", perSeriesAligner = chart.aligner, crossSeriesReducer = chart.reducer, groupByFields = chart.by }
                }
              }
            }]
          }
        }
      }]
    }
  })
}
