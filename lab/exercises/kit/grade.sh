#!/usr/bin/env bash
# Grades many folders: ./grade.sh submissions/*    It writes grades.csv and grades.xml (JUnit).
# The first time it installs the lab beside itself. PYTHON names a Python from 3.11 on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -x "$here/lab-env/bin/lab" ]; then
    "${PYTHON:-python3}" -m venv "$here/lab-env"
    "$here/lab-env/bin/python" -m pip install --quiet "$here"/*.whl
fi
exec "$here/lab-env/bin/lab" exercise check "$@" --exercise "$(cat "$here/exercise.txt")" \
    --csv grades.csv --junit grades.xml
