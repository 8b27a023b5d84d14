#!/usr/bin/env bash
# Fuzzes each target for some seconds. It takes a nightly compiler and cargo-fuzz (`cargo install cargo-fuzz`).
#
#   fuzz/run.sh [SECONDS [SEED]]     60 if not given, and another seed each time; what was found is in fuzz/artifacts
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
seconds=${1:-60} seed=${2:-0}
if ! { cargo +nightly --version && cargo +nightly fuzz --version; } >/dev/null 2>&1; then
    # at least they fit the code
    cargo check --quiet --target-dir "${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
    echo "NOT FUZZED: that takes \`rustup toolchain install nightly\` and \`cargo install cargo-fuzz\`" >&2
    exit 0
fi
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
for name in response template snapshot; do
    mkdir -p "corpus/$name"
    echo "== fuzzing $name for $seconds s" >&2
    cargo +nightly fuzz run --fuzz-dir . --target-dir "$target" "$name" "corpus/$name" "seeds/$name" -- \
        -max_total_time="$seconds" -seed="$seed" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
