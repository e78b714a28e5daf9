# Where the state is: terraform init -backend-config=bucket=PROJECT-state
terraform {
  backend "gcs" {
    prefix = "kfgcp"
  }
}
