#!/usr/bin/env bash
# Tests of the end-to-end suite by themselves, on a cluster of their own that is taken down afterwards.
#
#   one.sh FILTER...      NODES=1|2 nodes; E2E_THREADS tests at once; PREVIOUS=COMMIT of the release before, to build it too
#
# Each FILTER gets a cluster of its own: some tests take a node away for good.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tests/cluster/prepare.sh
target=$(cargo metadata --no-deps --format-version 1 | grep -o '"target_directory":"[^"]*"' | cut -d'"' -f4)
cargo build --features test-hooks
starling=$target/test-hooks/starling
mkdir -p "$(dirname "$starling")"
cp "$target/debug/starling" "$starling"
built=$(cargo test --no-run --test e2e --message-format=json-render-diagnostics)
e2e=$(sed -n 's/.*"name":"e2e".*"executable":"\([^"]*\)".*/\1/p' <<<"$built")
[ -x "$e2e" ] || { echo "cargo built no tests/e2e" >&2; exit 1; }
if [ -n "${PREVIOUS:-}" ]; then
    checkout=$(mktemp -d)
    trap 'git worktree remove --force "$checkout"' EXIT
    git worktree add --detach "$checkout" "$PREVIOUS" >&2
    (cd "$checkout" && CARGO_TARGET_DIR=$target/previous cargo build)
    export STARLING_TEST_PREVIOUS=$target/previous/debug/starling
fi
failed=()
for filter; do
    echo "== $filter" >&2
    STARLING_TEST_LOGS=$target/test-logs/$filter tests/cluster/with.sh "$starling" \
        env RUST_TEST_THREADS="${E2E_THREADS:-4}" "$e2e" "$filter" --nocapture || failed+=("$filter")
done
[ ${#failed[@]} = 0 ] || { echo "FAILED: ${failed[*]}" >&2; exit 1; }
