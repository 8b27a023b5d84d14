#!/usr/bin/env bash
# Every test: first those that need no cluster, then the chart and the end-to-end suite on a real Kubernetes.
#
#   E2E_THREADS=4                tests of the end-to-end suite at once
#   E2E_ALL=1                    also those that have not been seen to pass yet
#   STARLING_TEST_KUBECONFIG, STARLING_TEST_IMAGE   a cluster to use instead of our own (which needs root on Linux), and an
#                                image built with the feature test-hooks: docker build --build-arg FEATURES=test-hooks .
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { printf '%s\n' "$*" >&2; }

tests/cluster/prepare.sh
# The page of a run comes before the program, which embeds it.
web/prepare.sh
make web
export STARLING_REQUIRE_UI=1
tests/foreign/prepare.sh >/dev/null
# Go's programs come first: the tests of the chart use helm.
tests/cluster/cluster.sh build helm

target=$(cargo metadata --no-deps --format-version 1 | grep -o '"target_directory":"[^"]*"' | cut -d'"' -f4)
logs=$target/test-logs
rm -rf "$logs"
mkdir -p "$logs"

# The program of the clusters' image has the kill points that the end-to-end suite needs; what is shipped has none, so it is
# built apart and kept where no other build writes.
cargo build --features test-hooks
starling=$target/test-hooks/starling
mkdir -p "$(dirname "$starling")"
cp "$target/debug/starling" "$starling"
# One build of everything else, the program as it is shipped included; the end-to-end suite is run by its path, inside the
# cluster's network.
built=$(cargo test --workspace --no-run --message-format=json-render-diagnostics)
test_program() { # test_program NAME: the path of what cargo built of tests/NAME
    local path
    path=$(sed -n "s/.*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" <<<"$built")
    [ -x "$path" ] || { say "cargo built no tests/$1"; exit 1; }
    echo "$path"
}
e2e=$(test_program e2e) rights=$(test_program rights)

without_cluster=(--lib --bins --examples)
for file in tests/*.rs tests/*/main.rs; do
    name=${file#tests/} name=${name%/main.rs} name=${name%.rs}
    case $name in e2e | rights) ;; *) [ ! -e "$file" ] || without_cluster+=(--test "$name") ;; esac
done

failed=()
run() { # run NAME CMD...: to the terminal and to a log
    local name=$1; shift
    say "== $name"
    STARLING_TEST_LOGS=$logs/$name "$@" 2>&1 | tee "$logs/$name.log" || failed+=("$name")
}
run unit cargo test --workspace --no-fail-fast "${without_cluster[@]}"
run hooks cargo test --features test-hooks --lib operator::fault
run doc cargo test --workspace --doc
run protos cargo test --manifest-path tests/protos/Cargo.toml
# The page of a run in a browser, served by the program.
run web env STARLING="$target/debug/starling" npm --prefix web test
# What the operator writes, to the implementation of kstatus that Helm and Flux wait by.
run kstatus env PATH="$PATH:${XDG_CACHE_HOME:-$HOME/.cache}/starling/go/bin" go -C tests/kstatus test ./...
run chart tests/cluster/with.sh "$starling" tests/cluster/chart.sh
# Seen to pass once, by hand, and not yet known to be steady (E2E_ALL=1 runs them, too).
unproven=(
    room::a_run_without_room_takes_the_place_of_a_finished_master
    silent_masters::with_two_hundred_silent_masters_a_new_loadtest_has_its_run_within_a_second
)
skipped=()
if [ -z "${E2E_ALL:-}" ]; then
    say "NOT RUN, since it has not been seen to pass yet: tests/rights.rs"
    rights=true
    for name in "${unproven[@]}"; do
        say "NOT RUN, since it has been seen to pass only once: $name"
        skipped+=(--skip "$name")
    done
fi
# What the operator did there is held against its rights when the suite is through, passed or not.
# shellcheck disable=SC2016    # expanded by the inner shell
run e2e tests/cluster/with.sh "$starling" env RUST_TEST_THREADS="${E2E_THREADS:-4}" RIGHTS="$rights" \
    sh -c '"$@"; suite=$?; "$RIGHTS"; rights=$?; exit $((suite | rights))' sh "$e2e" "${skipped[@]}"

grep -h '^test result' "$logs"/*.log || true
if [ ${#failed[@]} -gt 0 ]; then
    say "FAILED: ${failed[*]}; logs are in $logs"
    exit 1
fi
say "all tests passed"
