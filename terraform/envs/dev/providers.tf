# Requests are counted on this project, which those to billing budgets need.
provider "google" {
  project               = var.project
  region                = var.location
  billing_project       = var.project
  user_project_override = true
}

provider "google-beta" {
  project               = var.project
  region                = var.location
  billing_project       = var.project
  user_project_override = true
}
