#!/bin/sh
# Runs the example twice with different parameters on this machine and shows what differs. No cloud, no Docker.
# BIN: the folder with the programs of the environment.
set -eu
cd "$(dirname "$0")/.."
kfgcp=${BIN:-.venv/bin}/kfgcp

echo "Two runs of examples/train_classifier.py on the breast cancer data, on this machine:"
$kfgcp run examples/train_classifier.py -p model=logistic_regression
$kfgcp run examples/train_classifier.py -p model=random_forest -p seed=11
echo
echo "What differs between them:"
$kfgcp compare
cat <<'END'

Type next:
  .venv/bin/kfgcp list                                    the runs, newest first
  .venv/bin/kfgcp dashboard                               the same in the browser, with curves and confusion matrices
  .venv/bin/kfgcp show                                    the newest run: tasks, metrics, artifacts
  .venv/bin/kfgcp logs latest train-classifier            what a task wrote
  .venv/bin/kfgcp run examples/train_classifier.py -p model=gradient_boosting -p test_fraction=0.4
  .venv/bin/kfgcp init my-project                         a project of your own that runs at once
END
