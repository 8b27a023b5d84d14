#!/usr/bin/env bash
# Installs what the page's tests need beside Node, where it is missing: a browser and a font, Debian's packages, if we are root.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

found=$(node --version 2>/dev/null) || found=none
if [ "$(printf '%s\n' v20 "$found" | sort -V | head -n 1)" != v20 ] || ! command -v npm >/dev/null; then
    say "Missing: Node 20 or newer with npm, which builds the page of a run; found: $found."
    exit 1
fi
packages=()
command -v chromium >/dev/null || packages+=(chromium)
[ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || packages+=(fonts-dejavu-core)
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "Missing: ${packages[*]} (Debian's names). Install them, or be root on Debian or Ubuntu."
    exit 1
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
