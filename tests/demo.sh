#!/usr/bin/env bash
# From nothing to a verdict: a cluster, the chart, the sample service, and a LoadTest followed to its end.
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
kubectl config set-context --current --namespace starling-demo >/dev/null
sed "s|image: starling:.*|image: $STARLING_TEST_IMAGE|" manifests/samples/sample-service.yaml | kubectl apply -f -
show kubectl rollout status deployment/sample-service --timeout 2m
show kubectl apply -f manifests/samples/categorizer.yaml

printf '\n$ kubectl get loadtests --watch\n'
kubectl get loadtests --watch &
watch=$!
kubectl wait --for=condition=Finished --timeout=30m -f manifests/samples/categorizer.yaml >/dev/null || true
kill "$watch"
show kubectl get -f manifests/samples/categorizer.yaml -o yaml
show kubectl get -f manifests/samples/categorizer.yaml -o wide
kubectl wait --for=condition=Passed --timeout=1s -f manifests/samples/categorizer.yaml
