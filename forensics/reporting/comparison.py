"""Every training and every detector, beside each other."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from forensics.judging import comparing, plots, scoring
from forensics.judging.benchmark_figures import LINE_COLOURS
from forensics.judging.benchmark_kinds import GAP, NAMES
from forensics.judging.benchmark_table import CONSTANT
from forensics.reporting import findings
from forensics.reporting.album import Album
from forensics.reporting.evidence import Evidence, Run, Scored, sections
from forensics.reporting.page import (
    DASH,
    Html,
    all_marks,
    code,
    digits,
    element,
    joined,
    mark,
    paragraph,
    say,
    span,
    table,
)

SIMPLE_NET = 'checkpoints/fakes_dataset_SimpleNet_Adam.pt'
TRAIN = 'python train_main.py -d fakes_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam'
ANALYSE = f'python numerical_analysis.py -m SimpleNet -cpp {SIMPLE_NET} -d fakes_dataset'
COMPARE = f'python compare_detectors.py {SIMPLE_NET} checkpoints/bonus.pt -d fakes_dataset'
BENCHMARK = 'python benchmark.py --checkpoints checkpoints/*_Adam.pt --datasets fakes_dataset synthetic_dataset'
LINES = 12  # in a figure; more could not be told apart
COURSES = 40  # sentences about trainings; more nobody reads
TEST_PARTS = 8  # that get figures of their own


def part(evidence: Evidence, album: Album) -> Html:
    return sections(
        evidence,
        ('trainings', 'Every training', lambda: trainings(evidence)),
        ('curves', 'Curves over one another', lambda: epochs(evidence, album)),
        ('roc-det', 'ROC and DET of all detectors', lambda: roc_and_det(evidence, album)),
        ('cross', 'Databases never trained on', lambda: joined([*tried(evidence, cross), *tried(evidence, kinds)])),
        ('robustness', 'Perturbed pictures', lambda: joined(tried(evidence, robustness, album))),
        ('pairs', 'Is one better than another?', lambda: pairs(evidence, album)),
    )


def missing(what: str, command: str) -> Html:
    return paragraph(say('{} Type {}', what, code(command)))


def tried(evidence: Evidence, write, *more) -> list[Html]:
    """What `write` makes of the benchmark's record; nothing if that is bad."""
    return [evidence.attempt('benchmark.json', lambda: write(evidence, *more)) or Html('')]


# --- trainings -------------------------------------------------------------------------------------------------------


def trainings(evidence: Evidence) -> Html:
    if not evidence.runs:
        return missing('Nothing was trained yet.', TRAIN)
    head = (
        'training', 'data set', 'model', 'backbone weights', 'parameters', 'epochs', 'time', 'best validation', 'test',
        'one answer', 'AuC (95% interval)', 'EER',
    )  # fmt: skip
    rows = evidence.each(evidence.runs, lambda run: training_row(run, evidence))
    note = (
        'Accuracies in percent; "test" is that at the epoch of the best validation accuracy, "one answer" that of '
        'always naming the larger class. AuC and EER are derived from the scores in out/scores; intervals are those '
        'that numerical_analysis.py or train_svm.py recorded. Parameters are those that were trained. A dash: not '
        'recorded, or this training was not scored on these data: '
    )
    return joined([table('Every training found in out/', head, rows, words=4), paragraph(note, code(ANALYSE))])


def training_row(run: Run, evidence: Evidence) -> list:
    log, scored = run.log, evidence.scores_of(run)
    auc, interval, eer = DASH, '', DASH
    if scored and not scored.reason:
        auc = digits(scored.auc, '{:.3f}')
        eer = digits(scoring.equal_error_rate(scored.labels, scored.logits), '{:.1%}')
        interval = recorded_interval(run, scored, evidence)
    return [
        joined([element('a', run.title, href=f'#{run.anchor}'), evidence.marks_of(run)]), log['dataset'], log['model'],
        run.facts.get('backbone_weights') or DASH, parameters(run, evidence), run.epochs(), run.duration(),
        run.validation('{:.2f}'), run.test_accuracy('{:.2f}'),
        digits(scoring.run_constant_accuracy(log), '{:.2f}'),
        joined([auc, interval]), eer,
    ]  # fmt: skip


def parameters(run: Run, evidence: Evidence) -> Html:
    if run.facts.get('parameters'):
        return digits(run.facts['parameters'], '{:,}')
    counted = evidence.parameters.get('networks', {}).get(run.log['model'])
    return digits(counted, '{:,}')


def recorded_interval(run: Run, scored: Scored, evidence: Evidence) -> Html:
    """The interval of the AuC, as the command that computed it recorded it for the same checkpoint."""
    ends = evidence.metrics_of(scored).get('metrics', {}).get('auc', {}).get('interval')
    if ends:
        return span(ends, '{:.3f}')
    return span(run.log.get('test_auc_interval'), '{:.3f}')


# --- figures of all --------------------------------------------------------------------------------------------------


def epochs(evidence: Evidence, album: Album) -> Html:
    runs = [run for run in evidence.runs if not run.is_classical and len(run.log['val_acc']) > 1]
    if not runs:
        return paragraph('No training of more than one epoch was found.')
    best = sorted(runs, key=lambda run: -run.log['val_acc'][run.best])[:LINES]
    marks = all_marks(evidence.marks_of(run) for run in best)
    caption = say('Validation accuracy and loss over the epochs{}{}', left_out(len(runs)), marks)
    figure = album.draw(lambda: plot_epochs(best), caption, 'Validation accuracy and loss over the epochs')
    courses = evidence.each(
        runs[:COURSES], lambda run: (joined([run.title, evidence.marks_of(run)]), findings.course(run))
    )
    title = 'How each training went' + (f': the first {COURSES} of {len(runs)}' if len(runs) > COURSES else '')
    return joined([figure, table(title, ('training', 'course'), courses, words=2)])


def left_out(number: int) -> str:
    return f': the best {LINES} of {number}' if number > LINES else ''


def plot_epochs(runs: Sequence[Run]):
    figure = plots.new_figure(height=3.2 + 0.16 * len(runs))
    axes = figure.subplots(1, 2)
    for key, label, ax in zip(('val_acc', 'val_loss'), ('accuracy [%]', 'loss'), axes, strict=True):
        for number, run in enumerate(runs):
            values = [np.nan if value is None else value for value in run.log.get(key, [])]
            ax.plot(range(1, len(values) + 1), values, marker='o', markersize=3, label=run.title, **look(number))
        ax.set(xlabel='epoch', ylabel=f'validation {label}')
        ax.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', frameon=False)
    return figure


def look(number: int) -> dict:
    """Colour and dashes of a line, seven colours for each kind of dashes."""
    dashes = ('-', '--', ':', '-.')[number // len(LINE_COLOURS) % 4]
    return {'color': LINE_COLOURS[number % len(LINE_COLOURS)], 'linestyle': dashes}


def roc_and_det(evidence: Evidence, album: Album) -> Html:
    """A figure of each kind for each test part; detectors that left out other images stand in another."""
    sound = [scored for scored in evidence.scores.values() if not scored.reason]
    if not sound:
        return missing('No detector was scored yet.', ANALYSE)

    def images(scored: Scored) -> tuple:
        return scored.dataset, str(scored.record.get('data_fingerprint')), scored.labels.tobytes()

    figures, parts = [], [list(group) for _, group in groupby(sorted(sound, key=images), key=images)]
    for group in sorted(parts, key=len, reverse=True)[:TEST_PARTS]:
        dataset, members = group[0].dataset, sorted(group, key=lambda scored: -scored.auc)
        shown = members[:LINES]
        marks = all_marks(evidence.marks_of_scored(scored) for scored in shown)
        for name, plot in (('ROC', plots.plot_roc), ('DET', plots.plot_det)):
            caption = say('{} on {}, test{}{}', name, dataset, left_out(len(members)), marks)
            alt = f'{name} curves of {len(shown)} detectors on {dataset}'
            figures.append(album.draw(lambda plot=plot, shown=shown: plot_all(plot, shown), caption, alt))
    rest = len(parts) - TEST_PARTS
    note = f'The {TEST_PARTS} test parts with the most detectors; {rest} more are left out.' if rest > 0 else ''
    return joined([paragraph(note) if note else '', element('div', *figures, class_='figures')])


def plot_all(plot, shown: Sequence[Scored]):
    figure = plots.new_figure(height=5.0 + 0.17 * len(shown), width=6.2)
    styles = {scored.detector: look(number) for number, scored in enumerate(shown)}
    plot({scored.detector: scored.logits for scored in shown}, shown[0].labels, figure.subplots(), styles)
    return figure


# --- the benchmark ---------------------------------------------------------------------------------------------------


def benchmark_rows(evidence: Evidence) -> list[dict]:
    """Those of detectors and single pictures."""
    return [
        row for row in evidence.benchmark.get('rows', []) if row['level'] == 'frame' and row['detector'] != CONSTANT
    ]


def benchmark_marks(evidence: Evidence, row: dict) -> Html:
    facts = evidence.benchmark['datasets'].get(row['dataset'], {})
    training = {'backbone_weights': row['backbone_weights'], **training_of(evidence.benchmark, row['detector'])}
    return evidence.marks(row['dataset'], facts.get('data_fingerprint'), training)


def training_of(record: dict, detector: str) -> dict:
    """What a comparison, or the benchmark, says of a detector's training."""
    return {'detector': detector, **(record.get('detectors') or {}).get(detector, {})}


def cross(evidence: Evidence) -> Html:
    rows = [row for row in benchmark_rows(evidence) if row['perturbation'] is None]
    if not rows:
        return missing('No benchmark was run yet.', BENCHMARK)
    datasets = list(dict.fromkeys(row['dataset'] for row in rows))
    cells = {(row['detector'], row['dataset']): cross_cell(evidence, row) for row in rows}
    detectors = dict.fromkeys(row['detector'] for row in rows)
    lines = [(detector, *(cells.get((detector, dataset), DASH) for dataset in datasets)) for detector in detectors]
    note = (
        'Bold: the detector was trained on this data set. The distance to the other columns is what it does not know '
        'of other fakes.'
    )
    return joined([table('AuC on test with its 95% interval', ('detector', *datasets), lines), paragraph(note)])


def cross_cell(evidence: Evidence, row: dict) -> Html:
    auc = digits(row['auc'], '{:.3f}')
    interval = span((row['auc_low'], row['auc_high']), '{:.3f}')
    return joined([element('strong', auc) if row['own'] else auc, interval, benchmark_marks(evidence, row)])


def kinds(evidence: Evidence) -> Html:
    """Leave one kind out."""
    rows = evidence.benchmark.get('kinds') or []
    cells = {(row['detector'], row['dataset']): kind_cell(row) for row in rows}
    lines = []
    for detector in dict.fromkeys(row['detector'] for row in rows):
        judged = [row | {'dataset': name} for row in rows if row['detector'] == detector for name in row['datasets']]
        marks = all_marks(benchmark_marks(evidence, row) for row in judged)
        lines.append((joined([detector, marks]), *(cells.get((detector, name), DASH) for name in NAMES)))
    caption = 'Mean AuC over the data sets whose kind of fakes the detector was trained on, and of kinds it never saw'
    return table(caption, ('detector', *NAMES), lines)


def kind_cell(row: dict) -> Html:
    """A mean, or the gap between the two, and the kinds that are in it."""
    value = digits(row['auc'], '{:+.3f}' if row['dataset'] == GAP else '{:.3f}')
    interval = span((row['auc_low'], row['auc_high']), '{:.3f}')
    return joined([value, interval, f' [{row["kind"]}]' if row['kind'] else ''])


def robustness(evidence: Evidence, album: Album) -> Html:
    rows = sorted(benchmark_rows(evidence), key=lambda row: row['perturbation'] is not None)
    perturbed = [row for row in rows if row['perturbation'] is not None]
    if not perturbed:
        command = f'{BENCHMARK} --perturb jpeg:30,50,70,90 blur:0.5,1,2'
        return missing('No perturbed pictures were scored yet.', command)
    conditions = list(dict.fromkeys(map(condition, rows)))
    cells = {(row['detector'], row['dataset'], condition(row)): row for row in rows}
    lines = []
    for first in {(row['detector'], row['dataset']): row for row in perturbed}.values():
        detector, dataset = first['detector'], first['dataset']
        values = [perturbed_cell(cells.get((detector, dataset, name))) for name in conditions]
        lines.append((joined([detector, benchmark_marks(evidence, first)]), dataset, *values))
    marks = all_marks(benchmark_marks(evidence, row) for row in perturbed)
    caption = say('AuC against the strength of the perturbation{}', marks)
    names = list(dict.fromkeys(row['detector'] for row in rows))
    command = evidence.benchmark.get('command', BENCHMARK)
    alt = 'AuC against the strength of each perturbation'
    figure = album.show('benchmark_perturbations.png', caption, alt, command, of=names)
    return joined(
        [table('AuC on perturbed test pictures', ('detector', 'data set', *conditions), lines, words=2), figure]
    )


def condition(row: dict) -> str:
    return 'as they are' if row['perturbation'] is None else f'{row["perturbation"]} {row["strength"]:g}'


def perturbed_cell(row: dict | None) -> Html:
    if row is None:
        return Html(DASH)
    return digits(row['auc'], '{:.3f}')


# --- pairs -----------------------------------------------------------------------------------------------------------


MOST_PAIRS = 100  # of a data set, in the report
BETTER = {
    'first': 'the first is better',
    'second': 'the second is better',
    'neither': 'no difference can be seen',
    None: 'cannot be told: too few groups or images',
}
PAIR_HEAD = (
    'first, second', 'so', 'AuC difference (95% interval)', 'p (DeLong, Holm)', 'only first right', 'only second right',
    'p (McNemar)',
)  # fmt: skip


def pairs(evidence: Evidence, album: Album) -> Html:
    benchmarked = evidence.benchmark.get('pairs')
    if not evidence.comparisons and not benchmarked:
        return missing('No two detectors were compared yet.', COMPARE)
    found = tried(evidence, benchmark_pairs) if benchmarked else []
    for name in evidence.comparisons:
        found.append(evidence.attempt(f'comparisons/{name}.json', lambda name=name: compared(name, evidence, album)))
    return joined(text for text in found if text)


def benchmark_pairs(evidence: Evidence) -> Html:
    rows = [row for row in evidence.benchmark['pairs'] if row['level'] == 'frame']
    tables = []
    for dataset in dict.fromkeys(row['dataset'] for row in rows):
        facts = evidence.benchmark['datasets'].get(dataset, {})
        marks = evidence.marks(dataset, facts.get('data_fingerprint'))
        caption = f"{dataset}, test, all pairs of the benchmark's detectors: the second less the first"
        own = [row for row in rows if row['dataset'] == dataset]
        tables.append(pair_table(caption, marks, own, evidence.benchmark, evidence, 'out/benchmark_pairs.csv'))
    return joined(tables)


def compared(name: str, evidence: Evidence, album: Album) -> Html:
    record = evidence.comparisons[name]
    marks = evidence.marks(str(record.get('dataset')), record.get('data_fingerprint'))
    caption = f'{record.get("dataset")}, {record.get("condition")}: the second less the first'
    found = pair_table(caption, marks, record['pairs'], record, evidence, f'out/comparisons/{name}.json')
    file, names = f'{name}_disagreements.png', [record['pairs'][0][place] for place in ('first', 'second')]
    if not album.has(file):
        return found
    of_both = all_marks([marks, *(evidence.marks_of_training(training_of(record, each), True) for each in names)])
    caption = joined([f'Where the two disagree most: {name}', of_both])
    alt = 'The images on which the two detectors disagree most'
    return joined([found, album.show(file, caption, alt, record.get('command', COMPARE), of=names)])


def pair_table(caption: str, marks: Html, rows: list[dict], record: dict, evidence: Evidence, rest_in: str) -> Html:
    """The largest differences; the others stand in a file. `marks` are those of the data."""
    drawn = mark('demo data') in marks
    shown = sorted(rows, key=lambda row: -abs(row['metrics']['auc']['difference'] or 0))[:MOST_PAIRS]

    def named(row: dict, place: str) -> Html:
        return joined([row[place], evidence.marks_of_training(training_of(record, row[place]), drawn)])

    def line(row: dict) -> list:
        names = joined([named(row, 'first'), ', ', named(row, 'second')])
        return [names, BETTER[comparing.better(row)], *pair_numbers(row)]

    lines = [line(row) for row in shown]
    rest = len(rows) - len(shown)
    note = paragraph(f'The {MOST_PAIRS} largest differences; {rest} more: {rest_in}.') if rest else ''
    return joined([table(joined([caption, marks]), PAIR_HEAD, lines, words=2), note])


def pair_numbers(row: dict) -> list[Html]:
    auc, right = row['metrics']['auc'], row['mcnemar']
    return [
        joined([digits(auc['difference'], '{:+.3f}'), span(auc['interval'], '{:+.3f}')]),
        digits(row.get('holm_p'), '{:.2g}'),
        digits(right['first_only'], '{}'),
        digits(right['second_only'], '{}'),
        digits(right['p'], '{:.2g}'),
    ]
