# Names and labels that all files of this module use.

locals {
  name   = "${var.prefix}-kubeflow"
  labels = merge(var.labels, { component = "kubeflow", managed_by = "terraform" })
}
