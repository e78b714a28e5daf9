module "identities" {
  source  = "../.."
  project = "acme-ml-dev"
  teams = {
    growth = ["group:growth@acme.example"]
    fraud  = ["group:fraud@acme.example"]
  }
  viewers = ["group:risk@acme.example"]
  parts   = ["scheduler", "submitter"]
  federation = {
    issuer_uri = "https://token.actions.githubusercontent.com"
    condition  = "assertion.repository == 'acme/pipelines' && assertion.ref == 'refs/heads/main'"
    attribute  = "repository/acme/pipelines"
  }
}

output "grants" {
  description = "What the modules storage and registry are given as `iam`."
  value       = module.identities.grants
}
