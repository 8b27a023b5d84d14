#!/usr/bin/env bash
# Installs the servers of requirements*.txt, and grpc-go's of interop/go.mod beside them, into an environment of our cache,
# once, and prints the path of its interpreter.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/starling
say() { printf '%s\n' "$*" >&2; }

python=
for candidate in python3 python3.12 python3.11 python3.10; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
        python=$(command -v "$candidate")
        break
    fi
done
[ -n "$python" ] || { say "Missing: Python 3.10 to 3.12 with venv (on Debian python3-venv); MLServer runs on no other."; exit 1; }
# 1.21 and later fetch the release that a go.mod asks for
export PATH=$cache/go/bin:$PATH
go version >/dev/null 2>&1 || { say "Missing: Go; tests/cluster/prepare.sh installs it."; exit 1; }

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
digest=$(cat "$here"/requirements*.txt "$here"/interop/go.{mod,sum} | sha256sum | cut -c1-12)
environment=$cache/foreign-$version-$digest
mkdir -p "$cache"
# Two tests, or two runs, want it at once.
exec 9>"$cache/foreign.lock"
flock 9
if [ ! -e "$environment/ready" ]; then
    say "installing servers to test against (once; kept in $environment)"
    rm -rf "$environment"
    "$python" -m venv "$environment" >&2
    pip() { "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2; }
    pip --requirement "$here/requirements.txt"
    pip --no-deps --requirement "$here/requirements-alone.txt"
    # Go would name it after its folder, "server"
    CGO_ENABLED=0 go -C "$here/interop" build -buildvcs=false -trimpath -ldflags "-s -w" -o "$environment/bin/interop" \
        google.golang.org/grpc/interop/server
    touch "$environment/ready"
fi
printf '%s\n' "$environment/bin/python"
