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

variable "labels" {
  type        = map(string)
  description = "Labels of every resource, by which its cost is attributed; environment and cost_center must be among them."
  validation {
    condition     = contains(keys(var.labels), "environment") && contains(keys(var.labels), "cost_center")
    error_message = "labels need environment and cost_center, or nobody can say whose cost it is."
  }
  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "Keys and values of labels have up to 63 lowercase letters, digits, _ and -; a key starts with a letter."
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

variable "image" {
  type        = string
  description = "Image with kfgcp[dashboard], by tag or digest."
  validation {
    condition     = can(regex("^[a-z0-9.-]+/[^ :@]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image is REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST; the tag latest is refused: nobody could say what runs."
  }
}

variable "service_account" {
  type        = string
  description = "Email of the service account that the dashboard reads with."
  validation {
    condition     = can(regex("^[^@/]+@[^@/]+$", var.service_account))
    error_message = "service_account is an email."
  }
}

variable "users" {
  type        = list(string)
  description = "Who may open it, as group:NAME@DOMAIN or user:NAME@DOMAIN."
  default     = []
  validation {
    condition     = alltrue([for user in var.users : can(regex("^(group|user|domain):.+$", user))])
    error_message = "A user is group:NAME@DOMAIN, user:NAME@DOMAIN or domain:DOMAIN; the public is refused."
  }
}

variable "environment_variables" {
  type        = map(string)
  description = "Variables of the process, as KFGCP_ENV_DEV_PROJECT; no secrets."
  default     = {}
  validation {
    condition     = alltrue([for name in keys(var.environment_variables) : can(regex("^[A-Z][A-Z0-9_]*$", name)) && !can(regex("(SECRET|PASSWORD|TOKEN)$", name))])
    error_message = "Names are upper case, and none is a secret."
  }
}

variable "host_names" {
  type        = list(string)
  description = "Names that lead to it besides the one that Cloud Run gives it, such as dash.acme.example."
  default     = []
  validation {
    condition     = alltrue([for name in var.host_names : can(regex("^[a-z0-9.-]+(:[0-9]+)?$", name))])
    error_message = "A host name is NAME or NAME:PORT, without https://."
  }
}

variable "ingress" {
  type        = string
  description = "Where requests may come from: all (IAP asks who they are), internal or internal-and-load-balancer."
  default     = "all"
  validation {
    condition     = contains(["all", "internal", "internal-and-load-balancer"], var.ingress)
    error_message = "ingress is all, internal or internal-and-load-balancer."
  }
}

variable "max_instances" {
  type        = number
  description = "Most instances at once; there are none while nobody looks."
  default     = 2
  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 20
    error_message = "max_instances is 1 to 20."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy the service."
  default     = true
}
