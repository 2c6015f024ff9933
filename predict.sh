#!/usr/bin/env bash
# ./predict.sh photo.jpg   is the face in it real, or made by a computer? All arguments go to predict.py (try --help).
# ./predict.sh --page      the same as a page in the browser; what follows goes to app.py.
#
# The first start sets up a small environment of its own (half a minute, 500 MB; for the page a minute, 850) where there
# is no full one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
environment=predict script=predict.py
if [ "${1:-}" = --page ]; then
    environment=page script=app.py
    shift
fi
# In a shell of its own, since setup.sh changes the folder, and the arguments name files from where the user stands.
python=$(ENVIRONMENT=$environment && . "$here/setup.sh" && echo "$PYTHON")
exec "$python" "$here/$script" "$@"
