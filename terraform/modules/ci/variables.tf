variable "project" {
  type        = string
  description = "Id of the project."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "location" {
  type        = string
  description = "Region, such as europe-west4."
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.location))
    error_message = "location is a region, such as europe-west4."
  }
}

variable "prefix" {
  type        = string
  description = "What the names of the resources begin with."
  default     = "kfgcp"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,8}[a-z0-9]$", var.prefix))
    error_message = "prefix has 3 to 10 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "repository" {
  type        = string
  description = "The repository, connected to Cloud Build (2nd generation): projects/P/locations/L/connections/C/repositories/R. Connecting needs a person's consent, so it is done once by hand."
  validation {
    condition     = can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.repository))
    error_message = "repository is projects/P/locations/L/connections/C/repositories/R."
  }
}

variable "main_branch" {
  type        = string
  description = "Branch whose pushes are built and which pull requests are made against."
  default     = "main"
  validation {
    condition     = can(regex("^[A-Za-z0-9._/-]+$", var.main_branch))
    error_message = "main_branch is the name of a branch, not a pattern."
  }
}

variable "tag_pattern" {
  type        = string
  description = "Regular expression (RE2) of the tags that are built."
  default     = "^v[0-9]+\\.[0-9]+\\.[0-9]+$"
  validation {
    condition     = startswith(var.tag_pattern, "^") && endswith(var.tag_pattern, "$")
    error_message = "tag_pattern starts with ^ and ends with $, or it matches in the middle of other tags."
  }
}

variable "service_account" {
  type        = string
  description = "Email of the service account that builds main and tags."
  validation {
    condition     = can(regex("^[^@/]+@[^@/]+$", var.service_account))
    error_message = "service_account is an email."
  }
}

variable "pull_request_service_account" {
  type        = string
  description = "Email of the service account that builds pull requests; it must not be able to write anything but logs."
  validation {
    condition     = can(regex("^[^@/]+@[^@/]+$", var.pull_request_service_account))
    error_message = "pull_request_service_account is an email."
  }
}

variable "artifact_bucket" {
  type        = string
  description = "Bucket, without gs://, in which builds of main and of tags keep compiled pipelines."
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]+[a-z0-9]$", var.artifact_bucket))
    error_message = "artifact_bucket is the name of a bucket, without gs://."
  }
}

variable "environment" {
  type        = string
  description = "Name of the environment; a tag of every build."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.environment))
    error_message = "environment has lowercase letters, digits and hyphens."
  }
}
