#!/bin/sh
# Writes the pinned requirement files anew. Usage: lock.sh UV
set -eu
cd "$(dirname "$0")/.."
compile="$1 pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade"
$compile --extra components --extra frames --extra docker --extra testing --extra dashboard --extra s3 pyproject.toml requirements/dev.in -o requirements/dev.txt
$compile --extra components --extra frames --extra dashboard pyproject.toml requirements/build.in -c requirements/dev.txt -o requirements/run.txt
$compile requirements/terraform.in -o requirements/terraform.txt
$compile requirements/stores.in -o requirements/stores.txt
$compile requirements/peers-evidently.in -o requirements/peers-evidently.txt
$compile requirements/peers-great-expectations.in -o requirements/peers-great-expectations.txt
# The lower bound of pyproject.toml, for .ci/versions.
oldest=$(sed -n 's/^ *"kfp>=\([0-9.]*\),.*/kfp==\1/p' pyproject.toml)
echo "$oldest" | $compile --extra components --extra frames --extra s3 pyproject.toml requirements/versions.in -c - -o requirements/oldest.txt
echo uv | $compile - -o requirements/uv.txt
$compile --extra dashboard --extra gcp pyproject.toml dashboards/requirements.in -c requirements/dev.txt -o dashboards/requirements.txt
# The images of the components. Of kfp's own requirements they have none: a component runs without them.
for image in base gcp tabular; do
  folder=components/images/$image
  $compile $folder/requirements.in -c requirements/dev.txt -o $folder/requirements.txt
  echo kfp | $compile --no-deps - -c requirements/dev.txt >>$folder/requirements.txt
done
