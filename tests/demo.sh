#!/usr/bin/env bash
# From nothing to a verdict: a cluster, the chart, the demo service, and a LoadTest followed to its end.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" != inside ]; then
    tests/cluster/prepare.sh
    cargo build --release
    target=$(cargo metadata --no-deps --format-version 1 | grep -o '"target_directory":"[^"]*"' | cut -d'"' -f4)
    exec tests/cluster/with.sh "$target/release/starling" tests/demo.sh inside
fi

show() { printf '\n$ %s\n' "$*"; "$@"; }
image=(--set image.repository="${STARLING_TEST_IMAGE%:*}" --set image.tag="${STARLING_TEST_IMAGE##*:}")

for namespace in starling-system starling-demo; do
    kubectl create namespace "$namespace"
    kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
done
show helm install starling charts/starling --namespace starling-system "${image[@]}" --wait --timeout 2m
demo=(kubectl --namespace starling-demo)
sed "s|image: starling:.*|image: $STARLING_TEST_IMAGE|" manifests/samples/sample-service.yaml | "${demo[@]}" apply -f -
show "${demo[@]}" rollout status deployment/sample-service --timeout 2m
show "${demo[@]}" apply -f manifests/samples/categorizer.yaml

show "${demo[@]}" get loadtests --watch &
watch=$!
"${demo[@]}" wait --for=condition=Finished --timeout=30m -f manifests/samples/categorizer.yaml >/dev/null || true
kill "$watch"
show "${demo[@]}" get -f manifests/samples/categorizer.yaml -o yaml
show "${demo[@]}" get -f manifests/samples/categorizer.yaml -o wide
# passed or not is the demo's own outcome
"${demo[@]}" wait --for=condition=Passed --timeout=1s -f manifests/samples/categorizer.yaml
