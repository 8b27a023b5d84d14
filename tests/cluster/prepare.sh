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
    found=$(PATH=$cache/go/bin:$PATH go env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' go1.21 "$found" | sort -V | head -n 1)" = go1.21 ]
}

install_go() { # Debian's is too old for the cluster, but can fetch the release that is not, checked against Go's checksum database
    local modules
    say "fetching Go $go (once; kept in $cache/go)"
    mkdir -p "$cache"
    modules=$(mktemp -d "$cache/go.XXXXXX")
    GOFLAGS=-modcacherw GOPATH=$modules GOMODCACHE=$modules/mod go mod download "golang.org/toolchain@v0.0.1-go$go.linux-$(go env GOARCH)"
    # a module's files have no modes
    chmod -R +x "$modules"/mod/golang.org/toolchain@*/{bin,pkg/tool}
    rm -rf "$cache/go"
    mv "$modules"/mod/golang.org/toolchain@* "$cache/go"
    rm -rf "$modules"
}

need cc build-essential
# for tests/foreign/prepare.sh
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
has_go || need go golang-go
if [ -z "${STARLING_TEST_KUBECONFIG:-}" ]; then
    need runc runc
    need nft nftables
    need ip iproute2
    need openssl openssl
    need pgrep procps
fi
install_packages
has_go || install_go
