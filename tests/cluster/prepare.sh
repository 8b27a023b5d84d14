#!/usr/bin/env bash
# Installs what the tests need beside Rust, where it is missing and we are root: a few Debian packages, and Go, which
# builds helm and the test cluster.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }
packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); }

need cc build-essential
need go golang
if [ -z "${STARLING_TEST_KUBECONFIG:-}" ]; then
    need runc runc
    need nft nftables
    need ip iproute2
    need openssl openssl
    need pgrep procps
fi
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "Missing: ${packages[*]} (Debian's names). Install them, or be root on Debian or Ubuntu."
    exit 1
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
