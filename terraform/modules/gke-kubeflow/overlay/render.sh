#!/bin/sh
# Prints the manifests of the overlay for an environment, whose parameters are on standard input:
#
#   terraform output -raw kubeflow_parameters | sh render.sh | kubectl apply --server-side -f -
#
# Works on a copy, so that nothing of an environment lands in the repository.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R "$here/." "$copy"
cat >"$copy/given.env"
for name in $(sed 's/=.*//' "$here/params.env"); do
  grep -q "^$name=." "$copy/given.env" || {
    echo "render.sh: there is no $name in the parameters on standard input. Are they from: terraform output -raw kubeflow_parameters?" >&2
    exit 2
  }
done
mv "$copy/given.env" "$copy/params.env"
kubectl kustomize "$copy"
