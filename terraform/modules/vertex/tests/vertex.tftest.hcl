mock_provider "google" {}
mock_provider "google-beta" {}

variables {
  project  = "acme-ml-dev"
  location = "europe-west4"
  labels   = { environment = "dev", cost_center = "ml" }
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = output.settings.psc_network_attachment != null && output.settings.network == null
    error_message = "Tasks enter the network by Private Service Connect, not by peering."
  }
}

run "without_a_network_nothing_of_one_is_made" {
  command = apply
  assert {
    condition     = length(google_compute_network.this) == 0 && output.settings.psc_network_attachment == null && output.settings.reserved_ip_ranges == null
    error_message = "Vertex AI works without a network of one's own."
  }
  assert {
    condition     = google_vertex_ai_metadata_store.default[0].name == "default"
    error_message = "Vertex AI looks for the metadata store `default`."
  }
}

run "peering_names_the_network_and_the_range" {
  command = apply
  variables {
    network = { psc = false, peering_prefix = 20 }
  }
  assert {
    condition     = output.settings.network != null && output.settings.reserved_ip_ranges == ["kfgcp-vertex-peering"] && output.settings.psc_network_attachment == null
    error_message = "Both are keys of kfgcp.toml."
  }
}

run "a_key_of_ones_own_encrypts_metadata_and_runs" {
  command = apply
  variables {
    kms_key = "projects/acme-ml-dev/locations/europe-west4/keyRings/r/cryptoKeys/k"
  }
  assert {
    condition     = google_vertex_ai_metadata_store.default[0].encryption_spec[0].kms_key_name == var.kms_key && output.settings.encryption_key == var.kms_key
    error_message = "The store and the runs use the key."
  }
}

run "a_met_quota_is_told_to_the_channels" {
  command = plan
  variables {
    notification_channels = ["projects/acme-ml-dev/notificationChannels/1"]
  }
  assert {
    condition     = google_monitoring_alert_policy.quota.notification_channels == tolist(["projects/acme-ml-dev/notificationChannels/1"]) && strcontains(google_monitoring_alert_policy.quota.conditions[0].condition_threshold[0].filter, "aiplatform.googleapis.com")
    error_message = "The alert is on quotas of Vertex AI."
  }
}

run "a_range_that_is_none_is_refused" {
  command = plan
  variables {
    network = { cidr = "10.10.0.0" }
  }
  expect_failures = [var.network]
}

run "a_channel_that_is_an_address_is_refused" {
  command = plan
  variables {
    notification_channels = ["ops@acme.example"]
  }
  expect_failures = [var.notification_channels]
}
