#!/bin/sh
# Makes the secrets of Kubeflow Pipelines and puts them into Secret Manager, where the cluster reads them. Terraform made
# the empty boxes; a box that has something in it is left alone, so that this may run again.
#
#   OAUTH_CLIENT_ID=... OAUTH_CLIENT_SECRET=... sh secrets.sh PROJECT NAME ACCOUNT
#
# NAME: of the cluster, which the database and the secrets share. ACCOUNT: email of the service account whose HMAC key the
# API server uses; kfp-server of the module identities. Without the OAuth variables that secret is left for later.
set -eu
umask 077
[ $# -eq 3 ] || { sed -n '5p' "$0" >&2; exit 2; }
project=$1 name=$2 account=$3
flags=$(mktemp)
trap 'rm -f "$flags"' EXIT

is_empty() {
  [ -z "$(gcloud secrets versions list "$name-$1" --project="$project" --filter=state=ENABLED --format='value(name)')" ] || {
    echo "$name-$1: is there already"
    return 1
  }
}

keep() {
  gcloud secrets versions add "$name-$1" --project="$project" --data-file=- >/dev/null
  echo "$name-$1: made"
}

if is_empty database; then
  password="$(openssl rand -base64 33 | tr '/+' '_-')aA1="
  printf -- '--password: "%s"\n' "$password" >"$flags" # not as an argument, which every user of the machine could see
  gcloud sql users create kubeflow --host=% --instance="$name" --project="$project" --flags-file="$flags"
  printf '{"username": "kubeflow", "password": "%s"}' "$password" | keep database
fi

if is_empty object-store; then
  key=$(gcloud storage hmac create "$account" --project="$project" --format='value[separator=" "](metadata.accessId,secret)')
  printf '{"accesskey": "%s", "secretkey": "%s"}' "${key%% *}" "${key##* }" | keep object-store
fi

if is_empty oauth-client; then
  if [ -n "${OAUTH_CLIENT_ID:-}" ] && [ -n "${OAUTH_CLIENT_SECRET:-}" ]; then
    printf '{"client_id": "%s", "client_secret": "%s"}' "$OAUTH_CLIENT_ID" "$OAUTH_CLIENT_SECRET" | keep oauth-client
  else
    echo "$name-oauth-client: left for later, OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET are not set"
  fi
fi
