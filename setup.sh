#!/usr/bin/env bash
# Installs into .venv, at the versions of constraints.txt: setup.sh PYTHON PACKAGE CONTENTS
# By uv, itself from PyPI, since pip takes ten times as long; by pip where uv cannot be had.
set -euo pipefail
cd "$(dirname "$0")"
SECONDS=0
python=.venv/bin/python

"$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "error: $1 is older than Python 3.11. Fix: make PYTHON=python3.11 ..." >&2; exit 1; }

echo "installing $3 into .venv: usually half a minute, some minutes where the network is slow"
[ -x $python ] || "$1" -m venv --clear .venv
$python -m pip install --quiet --constraint constraints.txt uv || true
$python -m uv pip install --quiet --python $python --constraint constraints.txt --editable "$2" ||
    { echo "without uv, by pip: some minutes" && $python -m pip install --quiet --constraint constraints.txt --editable "$2"; }
$python -m compileall -q -j 0 clicktide serving monitoring streaming market learning features
echo "compiling the kernels, once for each version: a minute or two"
$python -P -m clicktide.kernels
echo "set up in $SECONDS s"
