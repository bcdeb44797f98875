#!/bin/bash
# Make the root folder of a bare machine: Debian 12 with Python 3.11, make and git, and no compiler, no bubblewrap, no
# service. Beside it, in /wheels, lie the wheels that the requirements name, fetched with the pip configuration of this
# machine, so that nothing in there needs a network.
#
#   tests/bare/base.sh FOLDER requirements-dev.txt       as root; needs debootstrap
#
# DEBIAN_MIRROR names another mirror than the one that this machine itself uses.
set -euo pipefail
target=$1
requirements=$2
cd "$(dirname "$0")/../.."

die() { echo "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "debootstrap needs root"
command -v debootstrap >/dev/null || die "debootstrap is not installed"

mirror=${DEBIAN_MIRROR:-$(sed -nE 's/^(URIs:|deb) +(\[[^]]*\] +)?(https?:[^ ]*debian\/?)( .*)?$/\3/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null | head -n 1 || true)}
mkdir -p "$target"
echo "Fetching Debian 12 from ${mirror:=http://deb.debian.org/debian}"
log=$(mktemp)
debootstrap --variant=minbase --include=python3.11,python3-venv,python3-pip,make,git,ca-certificates \
    bookworm "$target" "$mirror" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "debootstrap failed"; }
rm -f "$log"

echo "Fetching the wheels of $requirements"
mkdir -p "$target/wheels"
python=.venv/bin/python
[ -x "$python" ] || python=python3
# Every requirement is pinned, so their list is enough; without the conditions (`; python_full_version < ...`), since pip
# would judge them by its own Python and not by the one in there.
list=$(mktemp)
flat() { grep -vE '^(-r|#|$)' "$1" | sed 's/;.*//'; for inner in $(sed -n 's/^-r //p' "$1"); do flat "$inner"; done; }
flat "$requirements" >"$list"
# The one that comes as a source alone, and is nothing but Python: made a wheel of here, where setuptools can be had.
if source=$(grep '^localstripe==' "$list"); then
    "$python" -m pip wheel -qq --no-input --disable-pip-version-check --wheel-dir "$target/wheels" --no-deps "$source"
fi
"$python" -m pip download -qq --no-input --disable-pip-version-check --dest "$target/wheels" --no-deps --find-links "$target/wheels" \
    --only-binary=:all: --python-version 3.11 --implementation cp -r "$list"
rm -f "$list"
chmod -R a+rX "$target/wheels"
