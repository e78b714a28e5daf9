output "settings" {
  description = "Keys of kfgcp.toml that this module decides: location, encryption_key, psc_network_attachment, network, reserved_ip_ranges; null where there is none."
  value = {
    location               = var.location
    encryption_key         = var.kms_key
    psc_network_attachment = one(values(google_compute_network_attachment.this)[*].id)
    network                = length(local.peering) == 0 ? null : one(values(google_compute_network.this)[*].id)
    reserved_ip_ranges     = length(local.peering) == 0 ? null : values(google_compute_global_address.peering)[*].name
  }
  depends_on = [google_service_networking_connection.peering]
}

output "metadata_store" {
  description = "The name of the metadata store, or null."
  value       = one(google_vertex_ai_metadata_store.default[*].id)
}
