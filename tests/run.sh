#!/usr/bin/env bash
# Every test: first those that need no cluster, then the chart and the end-to-end suite on a real Kubernetes.
#
#   E2E_THREADS=4                tests of the end-to-end suite at once
#   STARLING_TEST_KUBECONFIG, STARLING_TEST_IMAGE   a cluster to use instead of our own (which needs root on Linux)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { printf '%s\n' "$*" >&2; }

tests/cluster/prepare.sh
# Go's programs come first: the tests of the chart use helm.
tests/cluster/cluster.sh build helm

target=$(cargo metadata --no-deps --format-version 1 | grep -o '"target_directory":"[^"]*"' | cut -d'"' -f4)
export STARLING_TEST_LOGS=$target/test-logs
rm -rf "$STARLING_TEST_LOGS"
mkdir -p "$STARLING_TEST_LOGS"

artifact() { # artifact NAME CARGO_ARGS...: build, and print the path of the program of that name
    local name=$1; shift
    cargo "$@" --message-format=json-render-diagnostics | sed -n "s/.*\"name\":\"$name\".*\"executable\":\"\([^\"]*\)\".*/\1/p"
}
cargo test --workspace --no-run
starling=$(artifact starling build --bin starling)
e2e=$(artifact e2e test --no-run --test e2e)

without_cluster=(--lib --bins --examples)
for file in tests/*.rs tests/*/main.rs; do
    name=${file#tests/} name=${name%/main.rs} name=${name%.rs}
    [ "$name" = e2e ] || [ ! -e "$file" ] || without_cluster+=(--test "$name")
done

failed=()
run() { # run NAME CMD...: to the terminal and to a log
    local name=$1; shift
    say "== $name"
    "$@" 2>&1 | tee "$STARLING_TEST_LOGS/$name.log" || failed+=("$name")
}
run unit cargo test --workspace --no-fail-fast "${without_cluster[@]}"
run doc cargo test --workspace --doc
run chart tests/cluster/with.sh "$starling" tests/cluster/chart.sh
run e2e tests/cluster/with.sh "$starling" env RUST_TEST_THREADS="${E2E_THREADS:-4}" "$e2e"

grep -h '^test result' "$STARLING_TEST_LOGS"/*.log || true
if [ ${#failed[@]} -gt 0 ]; then
    say "FAILED: ${failed[*]}; logs are in $STARLING_TEST_LOGS"
    exit 1
fi
say "all tests passed"
