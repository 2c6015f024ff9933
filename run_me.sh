#!/usr/bin/env bash
# ./run_me.sh           trains all models and draws all figures of the assignment
# ./run_me.sh --fresh   the same, from the first line, whatever an interrupted run left
#
# Each line below can be pasted into a terminal as well, after `. .venv/bin/activate` if the set-up made a .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

lines=()
while read -r line; do lines+=("$line"); done <<'END'
python plot_samples_of_faces_datasets.py
python train_main.py -d fakes_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam
python train_main.py -d synthetic_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam
python train_main.py -d synthetic_dataset -m XceptionBased --lr 0.001 -b 32 -e 2 -o Adam
python plot_accuracy_and_loss.py -m SimpleNet -j out/fakes_dataset_SimpleNet_Adam.json -d fakes_dataset
python plot_accuracy_and_loss.py -m SimpleNet -j out/synthetic_dataset_SimpleNet_Adam.json -d synthetic_dataset
python plot_accuracy_and_loss.py -m XceptionBased -j out/synthetic_dataset_XceptionBased_Adam.json -d synthetic_dataset
python numerical_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset
python numerical_analysis.py -m SimpleNet -cpp checkpoints/synthetic_dataset_SimpleNet_Adam.pt -d synthetic_dataset
python numerical_analysis.py -m XceptionBased -cpp checkpoints/synthetic_dataset_XceptionBased_Adam.pt -d synthetic_dataset
python saliency_map.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset
python saliency_map.py -m XceptionBased -cpp checkpoints/synthetic_dataset_XceptionBased_Adam.pt -d synthetic_dataset
python grad_cam_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset
python grad_cam_analysis.py -m SimpleNet -cpp checkpoints/synthetic_dataset_SimpleNet_Adam.pt -d synthetic_dataset
python grad_cam_analysis.py -m XceptionBased -cpp checkpoints/synthetic_dataset_XceptionBased_Adam.pt -d synthetic_dataset
python bonus_main.py
python nof_params.py
python answer_questions.py
python make_report.py
END

# An unfinished run's notes: its key, then each line as it starts and as it ends. They lie in out/, so that someone
# who empties out/ starts anew; a run that comes to its end removes them.
notes=out/.run_me

case ${1-} in
    '') ;;
    --fresh) rm -f "$notes" ;;
    *)
        sed -n '2,3s/^# //p' run_me.sh
        case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac
        ;;
esac

. ./setup.sh
python() { "$PYTHON" "$@"; }

# Ctrl-C reaches the running line too; it saves what it has, and its status tells the rest. Between two lines it
# stops the next.
interrupted=0
trap 'interrupted=130' INT

# Two runs at once would mix their records. A line that outlived its killed run_me.sh holds the lock, too: wait for it.
mkdir -p out .setup
exec 9>.setup/run_me.lock
if command -v flock >/dev/null && ! flock -n 9; then
    echo 'Another run_me.sh is at work here, or the last line of one that was killed; waiting for its end.'
    flock 9
fi

minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }
noted() { grep -qxF -- "$1" "$notes" 2>/dev/null; }

# Prints the key of this run, that is of everything a finished line depends on: the code and the data. Says on stderr
# where the data lies. Exit status 3: a data set is missing.
ask_project() {
    python - <<'END'
import hashlib
import os
import sys
from pathlib import Path

from forensics.data import datasets
from forensics.errors import UserError

names = ('fakes_dataset', 'synthetic_dataset')
try:
    folders = [datasets.find_dataset(name) for name in names]
except UserError as error:
    # Someone who says where the data is means that data, not the demo.
    sys.exit(f'error: {error}' if os.environ.get(datasets.ROOT_VARIABLE) else 3)

key = hashlib.sha256()
try:
    for name, folder in zip(names, folders, strict=True):
        print(f'{name}: {folder.resolve()}', file=sys.stderr)
        for part in datasets.PARTS:
            key.update(f'{folder.resolve()} {datasets.fingerprint(datasets.find_part(name, part))}\n'.encode())
except UserError as error:
    sys.exit(f'error: {error}')
code = sorted([*Path().glob('*.py'), *Path('forensics').rglob('*.py')])
for file in [Path('run_me.sh'), Path('requirements.txt'), *code]:
    key.update(file.read_bytes())
print(key.hexdigest()[:16])
END
}

status=0
key=$(ask_project) || status=$?
if [ $status = 3 ]; then
    echo 'No data set was found, so the demo data is made: python make_demo_data.py'
    status=0
    python make_demo_data.py || status=$?
    if [ $interrupted != 0 ]; then status=$interrupted; fi
    if [ $status != 0 ]; then
        echo "Making the demo data ended with status $status. Start ./run_me.sh again to go on." >&2
        exit $status
    fi
    key=$(ask_project) || status=$?
fi
if [ $status != 0 ]; then exit $status; fi

if ! noted "key $key"; then
    if [ -e "$notes" ]; then echo 'The code or the data has changed since the unfinished run: starting from the beginning.'; fi
    # What an older run saved is not for this one to resume.
    rm -f checkpoints/{fakes_dataset_SimpleNet,synthetic_dataset_SimpleNet,synthetic_dataset_XceptionBased}_Adam.last.pt
    echo "key $key" >"$notes"
fi

number=0
for line in "${lines[@]}"; do
    number=$((number + 1))
    where="[$number/${#lines[@]}, $(minutes $SECONDS)]"
    if noted "done $line"; then
        echo "$where done before: $line"
        continue
    fi
    command=$line
    case $line in
        # A training that an earlier start left in the middle goes on where it was; other lines are short.
        'python train_main.py '*) if noted "started $line"; then command="$line --resume"; fi ;;
    esac
    echo "$where $command"
    echo "started $line" >>"$notes"
    start=$SECONDS status=0
    eval "$command" || status=$?
    if [ $interrupted != 0 ]; then status=$interrupted; fi
    if [ $status != 0 ]; then
        {
            echo
            case $status in
                130) echo "Interrupted in line $number of ${#lines[@]}:" ;;
                *) echo "Line $number of ${#lines[@]} failed with status $status:" ;;
            esac
            echo "    $command"
            echo 'Start ./run_me.sh again to go on with this line, or ./run_me.sh --fresh to begin anew.'
        } >&2
        exit $status
    fi
    echo "done $line" >>"$notes"
    echo "$where took $((SECONDS - start)) s"
done
rm -f "$notes"

echo
echo "All ${#lines[@]} lines done; this start took $(minutes $SECONDS) minutes."
echo "The report is $PWD/out/report.html, the figures are in $PWD/figures, the records in $PWD/out."
