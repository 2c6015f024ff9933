"""How to get every number again: command lines, seeds, versions, commits, data fingerprints, durations."""

import json
import shlex

from forensics.reporting.evidence import Evidence, Run, sections
from forensics.reporting.page import DASH, Html, bullets, code, element, joined, paragraph, table


def part(evidence: Evidence) -> Html:
    return sections(
        evidence,
        ('runs', 'The trainings', lambda: trainings(evidence)),
        ('data', 'The data', lambda: data(evidence)),
        ('again', 'Everything anew', anew),
        ('skipped', 'Records that were left out', lambda: skipped(evidence)),
    )


def trainings(evidence: Evidence) -> Html:
    head = ('training', 'command', 'seed', 'commit', 'versions', 'time')
    rows = evidence.each(evidence.runs, lambda run: training_row(run, evidence))
    return table('Command lines, seeds, commits and versions', head, rows, words=6) or paragraph(
        'Nothing was trained yet.'
    )


def training_row(run: Run, evidence: Evidence) -> list:
    name = element('span', run.title, evidence.marks_of(run), id=run.anchor)
    seed, commit = run.facts.get('seed', DASH), run.facts.get('commit') or DASH
    return [name, code(command(run)), seed, commit, versions(run), run.duration()]


def anew() -> Html:
    return paragraph(
        code('./run_me.sh'), ' runs every line of the assignment in order and ends with this report; ',
        code('python make_report.py --check'), ' tells which numbers have changed since it was written.',
    )  # fmt: skip


TRAIN_MAIN = {
    'dataset': '-d',
    'datasets': '-d',
    'model': '-m',
    'lr': '--lr',
    'batch_size': '-b',
    'epochs': '-e',
    'optimizer': '-o',
}
TRAIN_SVM = {'dataset': '-d', 'features': '--features', 'classifier': '--classifier'}
# Said only where a run has others.
DEFAULTS = {
    'momentum': 0.9,
    'precision': 'float32',
    'seed': 0,
    'variant': 'published',
    'schedule': 'constant',
    'self_blend': 0,
}


def command(run: Run) -> str:
    """The line that makes this run again, from the arguments in its record."""
    arguments = dict(run.facts.get('arguments') or {})
    script, names = ('train_svm.py', TRAIN_SVM) if run.is_classical else ('train_main.py', TRAIN_MAIN)
    if not arguments:
        return f'python {script} ... (its arguments were not recorded)'
    words = ['python', script]
    for name, option in names.items():
        if name in arguments:
            value = arguments.pop(name)
            words += [option, *map(str, value if isinstance(value, list) else [value])]
    for name, value in arguments.pop('option', []):
        words += ['--option', f'{name}={json.dumps(value)}']
    for name, value in arguments.items():
        if value is not None and value is not False and value != DEFAULTS.get(name):
            words += [f'--{name.replace("_", "-")}', *([] if value is True else [str(value)])]
    return shlex.join(words)


def versions(run: Run) -> str:
    return ', '.join(f'{name} {version}' for name, version in (run.facts.get('versions') or {}).items()) or DASH


def data(evidence: Evidence) -> Html:
    rows = {}
    for run in evidence.runs:
        parts = [
            (name, part_name, facts)
            for part_name, whole in run.data.items()
            for name, facts in whole.get('datasets', {run.log['dataset']: whole}).items()  # several in a mixture
        ]
        for name, part_name, facts in parts:
            fingerprint = facts.get('fingerprint')
            row = joined([name, evidence.marks(name, fingerprint)]), part_name, code(fingerprint or DASH)
            source = run.facts.get('data_source') or DASH
            rows[name, part_name, fingerprint] = *row, source, facts.get('real', DASH), facts.get('fake', DASH)
    head = ('data set', 'part', 'fingerprint', 'source', 'real', 'fake')
    found = table('Data that were trained and judged on', head, rows.values(), words=4)
    return found or paragraph('No data were recorded.')


def skipped(evidence: Evidence) -> Html:
    if not evidence.broken:
        return paragraph('None: every record found could be read, and is of the newest training of its name.')
    return bullets(
        f'{path}: {reason}' if path not in reason else reason for path, reason in sorted(evidence.broken.items())
    )
