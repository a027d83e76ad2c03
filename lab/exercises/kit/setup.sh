#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image for an assignment.
set -eu
root=${AUTOGRADER:-/autograder}
works() {
    "$1" -c "import $2" 2> /dev/null
}
python=
for version in 3.13 3.12 3.11; do
    if [ -z "$python" ] && works "python$version" ensurepip; then
        python=python$version
    fi
done
if [ -z "$python" ]; then
    python=python3.11 # of Ubuntu 22.04
    if works python3.12 sys; then
        python=python3.12 # of Ubuntu 24.04, which leaves out venv
    fi
    apt-get update
    apt-get install -y --no-install-recommends "$python" "$python-venv"
fi
"$python" -m venv "$root/lab-env"
"$root/lab-env/bin/python" -m pip install --no-cache-dir "$root"/source/*.whl
