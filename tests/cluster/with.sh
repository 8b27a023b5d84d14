#!/usr/bin/env bash
# Runs a command against a Kubernetes that has an image of our program.
#
#   with.sh PROGRAM CMD...
#
# CMD has helm and kubectl in its PATH, KUBECONFIG, and STARLING_TEST_KUBECONFIG and STARLING_TEST_IMAGE (repository:tag); on a
# cluster of ours also STARLING_TEST_PROGRAM, the path of PROGRAM. Where the first two are given, that cluster is used as it is.
# Otherwise, as root on Linux, a cluster is started with an image made of PROGRAM, and taken down whatever happens; what it
# logged is kept in STARLING_TEST_LOGS when CMD fails.
set -euo pipefail

cluster=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/cluster.sh
program=$1; shift
say() { printf '%s\n' "$*" >&2; }

if [ -n "${STARLING_TEST_KUBECONFIG:-}" ] && [ -n "${STARLING_TEST_IMAGE:-}" ]; then
    "$cluster" build helm
    command -v kubectl >/dev/null || "$cluster" build kubernetes
    exec env KUBECONFIG="$STARLING_TEST_KUBECONFIG" PATH="$("$cluster" path):$PATH" "$@"
fi
if [ "$(id -u)" != 0 ] || [ "$(uname)" != Linux ]; then
    say "No cluster to test on: be root on Linux, or set STARLING_TEST_KUBECONFIG and STARLING_TEST_IMAGE (an image its nodes can pull)."
    exit 1
fi

"$cluster" build
# Two runs on one machine take turns; the cluster's own processes must not hold the lock.
export STARLING_CLUSTER=${STARLING_CLUSTER:-starling-test}
exec 9>"/run/$STARLING_CLUSTER.lock"
flock --nonblock 9 || { say "waiting for another run to end"; flock 9; }

archive=$(mktemp)
child=
finish() {
    local status=$?
    trap - EXIT
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    [ "$status" = 0 ] || [ -z "${STARLING_TEST_LOGS:-}" ] || "$cluster" logs "$STARLING_TEST_LOGS" 9>&-
    "$cluster" down 9>&-
    rm -f "$archive"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The tag is the one that the chart and the samples name, so that they are used as they are.
image=starling:$(sed -n 's/^version = "\(.*\)"/\1/p' "$(dirname "$cluster")/../../Cargo.toml" | head -n 1)
kubeconfig=$("$cluster" up 9>&-)
"$cluster" image "$image" "$archive" -- /starling "$program=/starling"
"$cluster" load "$archive"
# Waited for, not run in the foreground: a signal must end it at once.
STARLING_TEST_KUBECONFIG=$kubeconfig STARLING_TEST_IMAGE=$image STARLING_TEST_PROGRAM=$(realpath "$program") "$cluster" exec "$@" 9>&- &
child=$!
wait "$child"
