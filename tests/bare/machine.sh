#!/bin/bash
# Prove that the project runs on a bare machine: clone it into a fresh Debian with Python 3.11, make and git alone (see
# base.sh), with no network and no service; `make demo` must end with a COMPLETED task and a server that still answers,
# and `make test` must pass. Prints how long each took.
#
#   tests/bare/machine.sh                 as root; clones HEAD of this checkout
#   tests/bare/machine.sh --as root       runs it as root in there, not as an ordinary user
#
# BARE_BASE names a folder that base.sh made before; else one is made and removed again. BARE_STEPS="demo test" chooses.
# Mounts, processes and network live in namespaces of their own: they end with this script, however it ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
repository=$PWD
as=someone
[ "${1:-}" != "--as" ] || as=$2

die() { echo "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "a root folder of its own needs root"

work=$(mktemp -d "${TMPDIR:-/tmp}/gaas-bare.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 143' TERM INT
chmod 755 "$work"

started=$SECONDS
if [ -n "${BARE_BASE:-}" ]; then
    cp -a "$BARE_BASE" "$work/root"
else
    tests/bare/base.sh "$work/root" requirements-dev.txt
fi
echo "Made the machine in $((SECONDS - started)) s"

# Runs in the new namespaces, still outside the root folder.
cat >"$work/enter" <<'ENTER'
set -euo pipefail
root=$1 repository=$2 as=$3 steps=$4
python3 - <<'PYTHON'
import fcntl, socket, struct
# Bring the loopback interface up: SIOCSIFFLAGS with IFF_UP | IFF_RUNNING.
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))
PYTHON
mount -t proc proc "$root/proc"
mount -t tmpfs -o nosuid,mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir -m 1777 "$root/dev/shm"
mount -t tmpfs -o nosuid,nodev tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
mount -o remount,ro,bind "$root/dev"
mkdir -p "$root/repository"
mount --bind "$repository" "$root/repository"
mount -o remount,ro,bind "$root/repository"
exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels STEPS="$steps" AS="$as" bash /inside
ENTER

cat >"$work/root/inside" <<'INSIDE'
set -euo pipefail
for tool in gcc cc bwrap psql postgres redis-server; do
    ! command -v "$tool" >/dev/null || { echo "this machine is not bare: it has $tool" >&2; exit 1; }
done
git config --system --add safe.directory '*'
if [ "$AS" = root ]; then
    export HOME=/root
    exec bash /steps
fi
useradd --create-home "$AS"
export HOME="/home/$AS"
exec setpriv --reuid="$AS" --regid="$AS" --init-groups bash /steps
INSIDE

cat >"$work/root/steps" <<'STEPS'
set -euo pipefail
cd "$HOME"
git clone --quiet file:///repository gaas
cd gaas
echo "Cloned $(git log -1 --format='%h %s') as $(id -un), $(python3 --version)"

answers() {
    python3 -c 'import urllib.request as web; print(web.urlopen("http://127.0.0.1:8000/livez", timeout=5).status)' 2>&1
}

if [[ " $STEPS " == *" demo "* ]]; then
    started=$SECONDS
    make demo </dev/null 2>&1 | tee demo.log
    demo=$((SECONDS - started))
    grep -q COMPLETED demo.log || { echo "make demo shows no COMPLETED task" >&2; exit 1; }
    server=$(sed -nE 's/.*kill ([0-9]+)$/\1/p' demo.log)
    [ "$(answers)" = 200 ] || { echo "the server does not answer after make demo" >&2; exit 1; }
    kill "$server"
    for _ in $(seq 300); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
    ! kill -0 "$server" 2>/dev/null || { echo "the server runs on after it was told to stop" >&2; exit 1; }
    echo "make demo took $demo s, the installation included"
fi
if [[ " $STEPS " == *" check "* ]]; then
    started=$SECONDS
    ./start.sh --install requirements.txt
    SECRET_KEY=bare .venv/bin/python manage.py check
    echo "Installation and check took $((SECONDS - started)) s"
fi
if [[ " $STEPS " == *" test "* ]]; then
    started=$SECONDS
    make test </dev/null
    echo "make test took $((SECONDS - started)) s, the installation of its tools included"
fi
STEPS

unshare --mount --propagation private --pid --fork --kill-child --net --ipc --uts \
    bash "$work/enter" "$work/root" "$repository" "$as" "${BARE_STEPS:-demo test}"
