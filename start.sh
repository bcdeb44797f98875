#!/bin/sh
# Start GaaS on this machine: make .venv, install what changed, run `manage.py up` with the arguments given.
#
#   ./start.sh [--port 8000] [--host 127.0.0.1] [--no-agent] [--simulated-gpus N]
#   ./start.sh --install requirements-dev.txt      only make .venv and install (the Makefile calls this)
set -eu
cd "$(dirname "$0")"

find_python() {
    for name in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    {
        echo "GaaS needs Python 3.11 or later with its venv module, and found none."
        echo "Debian 12, Ubuntu 23.04 and later: apt-get install python3 python3-venv. Elsewhere: https://www.python.org/downloads/"
        echo "A Python in another place: PYTHON=/path/to/python3 $0"
    } >&2
    return 1
}

# What a requirements file asks for, with the files that it includes: the stamp is this text, so that a
# checkout of another branch installs again and a mere touch does not.
wanted() {
    grep -v '^-r ' "$1"
    for inner in $(sed -n 's/^-r //p' "$1"); do wanted "$inner"; done
}

install() {
    stamp=".venv/installed-$1"
    if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$(find_python)
        echo "Making .venv with $("$python" --version)"
        rm -rf .venv
        "$python" -m venv .venv
    fi
    if ! wanted "$1" | cmp -s - "$stamp"; then
        echo "Installing $1 into .venv"
        .venv/bin/python -m pip install --disable-pip-version-check --no-input --prefer-binary -r "$1"
        wanted "$1" >"$stamp"
    fi
}

if [ "${1:-}" = "--install" ]; then
    install "${2:-requirements.txt}"
    exit
fi
install requirements.txt
exec .venv/bin/python manage.py up "$@"
