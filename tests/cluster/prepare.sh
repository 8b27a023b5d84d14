#!/usr/bin/env bash
# Installs what the tests need beside Rust, where it is missing: a few Debian packages if we are root, and Go, which builds
# helm and the test cluster, into our cache.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/starling
go=1.26.8
say() { printf '%s\n' "$*" >&2; }
packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); }

install_packages() {
    [ ${#packages[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "Missing: ${packages[*]} (Debian's names). Install them, or be root on Debian or Ubuntu."
        exit 1
    fi
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
}

has_go() { # 1.21 and later fetch the release that a go.mod asks for
    local found
    found=$(PATH=$PATH:$cache/go/bin go env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' go1.21 "$found" | sort -V | head -n 1)" = go1.21 ]
}

install_go() { # from the module proxy, where every other part of the cluster comes from
    local machine sum temporary
    case $(uname -m) in
        x86_64) machine=amd64 sum=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7 ;;
        aarch64) machine=arm64 sum=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99 ;;
        *) say "Install Go $go or later."; exit 1 ;;
    esac
    say "fetching Go $go (once; kept in $cache/go)"
    mkdir -p "$cache"
    temporary=$(mktemp -d "$cache/go.XXXXXX")
    curl -fsSL --retry 3 -o "$temporary/go.zip" "https://proxy.golang.org/golang.org/toolchain/@v/v0.0.1-go$go.linux-$machine.zip"
    sha256sum --check --quiet <<<"$sum  $temporary/go.zip"
    unzip -q "$temporary/go.zip" -d "$temporary"
    chmod -R +x "$temporary"/golang.org/*/{bin,pkg/tool}
    rm -rf "$cache/go"
    mv "$temporary"/golang.org/* "$cache/go"
    rm -rf "$temporary"
}

need cc build-essential
has_go || { need curl curl; need unzip unzip; }
if [ -z "${STARLING_TEST_KUBECONFIG:-}" ]; then
    need runc runc
    need nft nftables
    need ip iproute2
    need openssl openssl
    need pgrep procps
fi
install_packages
has_go || install_go
