variable "project" {
  type        = string
  description = "Id of the project in which the APIs are switched on."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "parts" {
  type        = set(string)
  description = "Parts of the environment beside Vertex AI: ci, dashboard, kubeflow, monitoring, network, scheduler."
  default     = []
  validation {
    condition     = length(setsubtract(var.parts, ["ci", "dashboard", "kubeflow", "monitoring", "network", "scheduler"])) == 0
    error_message = "parts may hold ci, dashboard, kubeflow, monitoring, network and scheduler."
  }
}

variable "more" {
  type        = set(string)
  description = "Further APIs, such as those that tasks call: bigquery.googleapis.com."
  default     = []
  validation {
    condition     = alltrue([for api in var.more : endswith(api, ".googleapis.com")])
    error_message = "Each API ends in .googleapis.com."
  }
}
