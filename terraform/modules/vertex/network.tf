locals {
  network = var.network == null ? {} : { this = var.network }
  psc     = { for key, network in local.network : key => network if network.psc }
  peering = { for key, network in local.network : key => network if network.peering_prefix != null }
}

resource "google_compute_network" "this" {
  for_each                = local.network
  project                 = var.project
  name                    = "${var.prefix}-vertex"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  for_each                 = local.network
  project                  = var.project
  name                     = "${var.prefix}-vertex"
  region                   = var.location
  network                  = google_compute_network.this[each.key].id
  ip_cidr_range            = each.value.cidr
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_network_attachment" "this" {
  for_each              = local.psc
  project               = var.project
  name                  = "${var.prefix}-vertex"
  region                = var.location
  description           = "Tasks of Vertex AI enter the network here"
  connection_preference = length(each.value.producer_accept) == 0 ? "ACCEPT_AUTOMATIC" : "ACCEPT_MANUAL"
  producer_accept_lists = each.value.producer_accept
  subnetworks           = [google_compute_subnetwork.this[each.key].id]
}

resource "google_compute_global_address" "peering" {
  for_each      = local.peering
  project       = var.project
  name          = "${var.prefix}-vertex-peering"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = each.value.peering_prefix
  network       = google_compute_network.this[each.key].id
  labels        = local.labels
}

resource "google_service_networking_connection" "peering" {
  for_each                = local.peering
  network                 = google_compute_network.this[each.key].id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.peering[each.key].name]
}
