#!/usr/bin/env bash
# ./run_tests.sh                        the whole suite, with coverage
# ./run_tests.sh tests/test_models.py   any arguments go to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup.sh

if [ $# -eq 0 ]; then
    set -- --cov=. --cov-report=term:skip-covered --cov-fail-under=90
fi
exec "$PYTHON" -m pytest "$@"
