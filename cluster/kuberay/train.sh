#!/bin/sh
# Goes on with an experiment, or begins it: KubeRay runs the same command again after it has lost a cluster.
#
#   train.sh DOMAIN EXPERIMENT [--set KEY=VALUE …]
set -eu
domain=$1 experiment=$2
shift 2
places= # a run goes on as it was set up: only where it lies may be said
for argument; do
    case $argument in resources.results=* | resources.storage=*) places="$places --set $argument" ;; esac
done
code=0
# shellcheck disable=SC2086  # two words each
entrepot train "$domain" --experiment "$experiment" --resume $places || code=$?
if [ "$code" -ne 2 ]; then # 2: it is refused, as where there is none yet
    exit "$code"
fi
echo "train.sh: nothing to go on with; $experiment begins"
exec entrepot train "$domain" --experiment "$experiment" "$@"
