module "vertex" {
  source   = "../.."
  project  = "acme-ml-dev"
  location = "europe-west4"
  labels   = { environment = "dev", cost_center = "ml" }
  network  = { cidr = "10.20.0.0/24" }
}

output "settings" {
  description = "What kfgcp.toml gets."
  value       = module.vertex.settings
}
