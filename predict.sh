#!/usr/bin/env bash
# ./predict.sh photo.jpg   is the face in it real, or made by a computer? All arguments go to predict.py (try --help).
#
# The first start sets up a small environment of its own (half a minute, 500 MB) where there is no full one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# In a shell of its own, since setup.sh changes the folder, and the arguments name files from where the user stands.
python=$(ENVIRONMENT=predict && . "$here/setup.sh" && echo "$PYTHON")
exec "$python" "$here/predict.py" "$@"
