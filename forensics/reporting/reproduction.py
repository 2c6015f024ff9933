"""How to get every number again: command lines, seeds, versions, commits, data fingerprints, durations."""

import json
import shlex

from forensics.reporting.comparison import anchor
from forensics.reporting.evidence import Evidence, Run
from forensics.reporting.page import DASH, Html, bullets, code, element, joined, paragraph, section, table


def part(evidence: Evidence) -> Html:
    return joined([
        section(3, 'runs', 'The trainings', trainings(evidence)),
        section(3, 'data', 'The data', data(evidence)),
        section(3, 'again', 'Everything anew', paragraph(
            code('./run_me.sh'), ' runs every line of the assignment in order and ends with this report; ',
            code('python make_report.py --check'), ' tells which numbers have changed since it was written.',
        )),
        section(3, 'skipped', 'Records that were skipped', skipped(evidence)),
    ])  # fmt: skip


def trainings(evidence: Evidence) -> Html:
    rows = [
        (
            element('span', run.source.name.removesuffix('[last]'), evidence.marks_of(run), id=anchor(run)),
            code(command(run)), run.facts.get('seed', DASH), run.facts.get('commit') or DASH, versions(run), duration(run),
        )
        for run in evidence.runs
    ]  # fmt: skip
    head = ('training', 'command', 'seed', 'commit', 'versions', 'time')
    return table('Command lines, seeds, commits and versions', head, rows, words=6) or paragraph('Nothing was trained yet.')


def command(run: Run) -> str:
    """The line that makes this run again, from the arguments in its record."""
    arguments = run.facts.get('arguments') or {}
    if run.is_classical:
        names = {'dataset': '-d', 'features': '--features', 'classifier': '--classifier', 'variant': '--variant'}
        script = 'train_svm.py'
    else:
        names = {'dataset': '-d', 'model': '-m', 'lr': '--lr', 'batch_size': '-b', 'epochs': '-e', 'optimizer': '-o'}
        script = 'train_main.py'
    if not arguments:
        return f'python {script} ... (its arguments were not recorded)'
    words = ['python', script]
    for name, option in names.items():
        if name in arguments:
            words += [option, str(arguments[name])]
    for name, value in arguments.items():
        option = '--' + name.replace('_', '-')
        if name == 'option':
            words += [word for own in value for word in ('--option', f'{own[0]}={json.dumps(own[1])}')]
        elif value is True:
            words.append(option)
        elif name not in names and value not in (None, False, DEFAULTS.get(name)):
            words += [option, str(value)]
    return shlex.join(words)


DEFAULTS = {'momentum': 0.9, 'precision': 'float32', 'seed': 0}  # said only where they differ


def versions(run: Run) -> str:
    return ', '.join(f'{name} {version}' for name, version in (run.facts.get('versions') or {}).items()) or DASH


def duration(run: Run) -> Html:
    seconds = run.log.get('seconds')
    return run.source.show(sum(seconds), '{:.0f} s', 'seconds') if seconds else Html(DASH)


def data(evidence: Evidence) -> Html:
    rows = {}
    for run in evidence.runs:
        for part_name, facts in (run.facts.get('data') or {}).items():
            print_ = facts.get('fingerprint')
            marks = evidence.marks(run.log['dataset'], print_)
            rows[run.log['dataset'], part_name, print_] = (
                joined([run.log['dataset'], marks]), part_name, code(str(print_)), facts.get('real', DASH), facts.get('fake', DASH),
            )  # fmt: skip
    head = ('data set', 'part', 'fingerprint', 'real', 'fake')
    return table('Data that were trained and judged on', head, rows.values(), words=3) or paragraph('No data were recorded.')


def skipped(evidence: Evidence) -> Html:
    if not evidence.broken:
        return paragraph('None: every record found could be read.')
    return bullets(f'{path}: {reason}' if path not in reason else reason for path, reason in sorted(evidence.broken.items()))
