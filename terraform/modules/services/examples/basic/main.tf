module "services" {
  source  = "../.."
  project = "acme-ml-dev"
  parts   = ["scheduler"]
}

output "services" {
  description = "The APIs that are on."
  value       = module.services.services
}
