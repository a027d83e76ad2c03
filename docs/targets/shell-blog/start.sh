#!/bin/sh
# A whole blog in one shell script: inetd.py listens, answer.sh answers.
# Posts and comments are lines in two files, so they outlive whoever is killed.
DATA=${DATA:-data}
mkdir -p "$DATA" || exit 1
: >>"$DATA/posts" && : >>"$DATA/comments" || exit 1
export DATA
exec python3 inetd.py "${PORT:-4000}" sh answer.sh
