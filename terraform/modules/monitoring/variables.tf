variable "project" {
  type        = string
  description = "Id of the project."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lowercase letters, digits and hyphens, and starts with a letter."
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

variable "emails" {
  type        = list(string)
  description = "Addresses that alerts are sent to."
  default     = []
  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "Each is an address, NAME@DOMAIN."
  }
}

variable "slow_run_seconds" {
  type        = number
  description = "A run that took longer than this many seconds is told; null for none."
  default     = null
  validation {
    condition     = var.slow_run_seconds == null ? true : var.slow_run_seconds > 0
    error_message = "slow_run_seconds is more than 0."
  }
}

variable "slow_task_seconds" {
  type        = number
  description = "A task that took longer than this many seconds is told; null for none."
  default     = null
  validation {
    condition     = var.slow_task_seconds == null ? true : var.slow_task_seconds > 0
    error_message = "slow_task_seconds is more than 0."
  }
}

variable "retries_an_hour" {
  type        = number
  description = "More retries of a pipeline's tasks than this in an hour are told; null for none."
  default     = 10
  validation {
    condition     = var.retries_an_hour == null ? true : var.retries_an_hour >= 0
    error_message = "retries_an_hour is 0 or more."
  }
}

variable "expected_runs" {
  type        = map(number)
  description = "Pipeline -> hours (at most 23) after which its silence is told: no run of it has ended."
  default     = {}
  validation {
    condition     = alltrue([for hours in values(var.expected_runs) : hours >= 1 && hours <= 23])
    error_message = "Hours are 1 to 23: Cloud Monitoring looks no further back than 23.5."
  }
}

variable "quality" {
  type        = map(object({ pipeline = string, metric = string, below = optional(number), above = optional(number) }))
  description = "Alerts on what pipelines measured, by name: a metric of a pipeline that is below or above a bound."
  default     = {}
  validation {
    condition     = alltrue([for bound in values(var.quality) : (bound.below == null) != (bound.above == null)])
    error_message = "Each has either below or above."
  }
}

variable "budget" {
  type = object({
    billing_account = string
    amount          = number
    currency        = optional(string)
    thresholds      = optional(list(number), [0.5, 0.9, 1.0])
  })
  description = "What the project may cost a month, in the currency of the billing account (Google refuses another), and the shares of it that are told; null for no budget. A budget tells and stops nothing by itself."
  default     = null
  validation {
    condition     = var.budget == null ? true : can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    error_message = "billing_account has the form 012345-6789AB-CDEF01."
  }
  validation {
    condition     = var.budget == null ? true : var.budget.amount > 0 && floor(var.budget.amount) == var.budget.amount
    error_message = "amount is a whole number above 0."
  }
}
