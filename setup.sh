#!/usr/bin/env bash
# Finds or makes a Python with the project's packages and leaves its path in PYTHON. Sourced by run_me.sh, run_tests.sh
# and predict.sh; `./setup.sh` alone only sets up.
#
# The Python at hand is taken as it is when it has the packages (a conda environment from environment.yml, say).
# Otherwise `.venv` is made here and filled from requirements.txt and requirements-no-deps.txt, every file checked
# against its hash. A copy of both lists in .venv says that it is complete, so the next start takes milliseconds.
#
# With ENVIRONMENT=predict any of these will do for predict.py, and where there is none, the small `.venv-predict` from
# requirements-predict.txt is made. With ENVIRONMENT=page it gets what app.py needs, too, from requirements-app.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

full() { venv=.venv lists=(requirements) cost='a few minutes, about 6 GB'; }
small() {
    venv=.venv-predict lists=(requirements-predict) cost='half a minute, about 500 MB'
    if [ "$ENVIRONMENT" = page ]; then lists+=(requirements-app) cost='a minute, about 850 MB'; fi
}
full

# An activated .venv may be unfinished, and cannot make itself anew: look at what lies behind it.
PATH=${PATH//"$PWD/.venv/bin:"/}
PATH=${PATH//"$PWD/.venv-predict/bin:"/}

# Exit status 0: has the packages; 3: lacks some; 4: too old. The first lines must run on any Python, 2.7 too.
# Only the installed packages' own records are read: importing torch would take seconds.
check_packages='
import sys
if sys.version_info < (3, 11):
    sys.exit(4)
import re
from importlib.metadata import PackageNotFoundError, version
text = lambda kind: "".join(open(name + kind).read() for name in sys.argv[1:])
locked = re.findall(r"^([\w.-]+)(?:\[.*\])?==(\d+)", text(".txt"), re.M)
for name in re.findall(r"^[\w.-]+", text(".in"), re.M):
    try:
        # Another major version may lack what we call: OpenCV 4 reads our face detector wrongly.
        if (name, version(name).split(".")[0]) not in locked:
            sys.exit(3)
    except PackageNotFoundError:
        sys.exit(3)
'

has_packages() {
    "$1" -c "$check_packages" "${lists[@]}" 2>/dev/null
}

# The Python at hand, if it has the packages.
find_python() {
    local candidate
    for candidate in python python3; do
        candidate=$(type -P "$candidate") || continue
        if has_packages "$candidate"; then
            PYTHON=$candidate
            return
        fi
    done
    return 1
}

# A Python that .venv can be made with.
find_base() {
    local candidate status
    too_old='' without_venv=''
    for candidate in python python3 python3.11 python3.12 python3.13 python3.14; do
        candidate=$(type -P "$candidate") || continue
        status=0
        has_packages "$candidate" || status=$?
        if [ $status = 4 ]; then
            too_old=$candidate
        elif [ $status = 3 ] && "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            base=$candidate
            return
        elif [ $status = 3 ]; then # any other status: no Python, but a stub of the system or of pyenv
            without_venv=$candidate
        fi
    done
    return 1
}

explain_missing_python() {
    if [ -n "$without_venv" ]; then
        echo "error: $without_venv lacks the packages, and cannot make a virtual environment for them either: its"
        echo "       modules venv and ensurepip are not installed. On Debian or Ubuntu: sudo apt install python3-venv"
    else
        echo "error: Python 3.11 or newer is needed, and none was found${too_old:+ ($too_old is older)}."
        echo '       Install it (Debian, Ubuntu: sudo apt install python3 python3-venv)'
    fi
    echo '       or use conda: conda env create -f environment.yml, then conda activate facial-forensics'
}

locks() {
    cat "${lists[@]/%/.txt}"
    if [ $venv = .venv ]; then cat requirements-no-deps.txt; fi
}

# "$venv/installed" holds the locks when everything is in, and another word while it is going in. What app.py needs comes
# last, so that predict.py finds its own there, too.
venv_is_complete() {
    [[ "$(cat "$venv/installed" 2>/dev/null)" = "$(locks)"* ]] && has_packages "$venv/bin/python"
}

pip_install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --require-hashes "$@"
}

install_lists() {
    if [ $venv = .venv ]; then
        pip_install -r requirements.txt && pip_install --no-deps -r requirements-no-deps.txt
    else
        local files=("${lists[@]/%/.txt}")
        # The README promises 500 MB: each module is compiled when it is first used, and nothing needs venv's setuptools.
        pip_install --quiet --no-compile --no-deps "${files[@]/#/-r}" &&
            "$venv/bin/python" -m pip uninstall --disable-pip-version-check -qq --yes setuptools
    fi
}

fill_venv() {
    # What an interrupted installation left cannot be trusted: pip takes a half-written package for a whole one.
    if [ "$(cat "$venv/installed" 2>/dev/null)" = 'unfinished' ] ||
        ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$venv"
    fi
    mkdir -p "$venv"
    echo 'unfinished' >"$venv/installed"
    if [ ! -e "$venv/bin/python" ]; then
        "$base" -m venv "$venv"
    fi
    if ! install_lists; then
        echo 'error: the packages could not be installed; the lines above say why. They come from the network and take' >&2
        echo "       $cost. Start again when that is put right: nothing needs to be cleaned up." >&2
        exit 1
    fi
    locks >"$venv/installed.tmp"
    mv "$venv/installed.tmp" "$venv/installed"
}

set_up_venv() {
    if ! find_base; then
        explain_missing_python >&2
        exit 1
    fi
    mkdir -p .setup
    exec 8>.setup/venv.lock
    # Two starts at once must not fill the same folder. A system without flock (macOS) goes without.
    if command -v flock >/dev/null; then flock 8; fi
    if ! venv_is_complete; then
        echo "Setting up $venv with $base, once: $cost." >&2
        fill_venv >&2
    fi
    exec 8>&-
}

# Any environment in which predict.py or app.py runs; the quickest to look at first, as this stands before every answer.
find_for_predict() {
    if [ -e .venv/installed ] && venv_is_complete; then return; fi
    small
    if venv_is_complete || find_python; then return; fi
    set_up_venv
}

PYTHON=''
if [ -n "${ENVIRONMENT:-}" ]; then
    find_for_predict
elif ! find_python && ! venv_is_complete; then
    set_up_venv
fi
PYTHON=${PYTHON:-$PWD/$venv/bin/python}
