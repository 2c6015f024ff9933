"""Every training and every detector, beside each other and beside what others reported."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from forensics import records
from forensics.judging import comparing, plots, scoring
from forensics.judging.benchmark_figures import LINE_COLOURS
from forensics.reporting import findings, published
from forensics.reporting.album import Album
from forensics.reporting.evidence import Evidence, Run, Scored
from forensics.reporting.page import DASH, Html, Source, code, element, joined, mark, paragraph, say, section, table

LINES = 12  # in a figure; more could not be told apart
THEIRS = mark('theirs', 'theirs')


def part(evidence: Evidence, album: Album) -> Html:
    return joined([
        section(3, 'trainings', 'Every training', trainings(evidence)),
        section(3, 'curves', 'Curves over one another', epochs(evidence, album)),
        section(3, 'roc-det', 'ROC and DET of all detectors', roc_and_det(evidence, album)),
        section(3, 'cross', 'Databases never trained on', cross(evidence)),
        section(3, 'robustness', 'Perturbed pictures', robustness(evidence, album)),
        section(3, 'pairs', 'Is one better than another?', pairs(evidence, album)),
        section(3, 'kernels', 'Classical detectors: the kernel table', kernels(evidence, album)),
        section(3, 'ablation', 'Hyper-parameters: the ablation table', ablation(evidence, album)),
        section(3, 'theirs', 'What others reported', theirs(evidence)),
    ])  # fmt: skip


def missing(what: str, command: str) -> Html:
    return paragraph(say('{} Type {}', what, code(command)))


# --- trainings -------------------------------------------------------------------------------------------------------


def trainings(evidence: Evidence) -> Html:
    head = (
        'training', 'data set', 'model', 'backbone weights', 'parameters', 'epochs', 'time', 'best validation', 'test',
        'one answer', 'AuC (95% interval)', 'EER',
    )  # fmt: skip
    if not evidence.runs:
        return missing('Nothing was trained yet.', 'python train_main.py -d fakes_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam')
    rows = [training_row(run, evidence) for run in evidence.runs]
    note = (
        'Accuracies in percent; "test" is that at the epoch of the best validation accuracy, "one answer" that of always '
        'naming the larger class. AuC and EER are derived from the scores that lie in out/scores; intervals are those that '
        'numerical_analysis.py, benchmark.py or train_svm.py recorded. Parameters are those that were trained.'
    )
    return joined([table('Every training found in out/', head, rows, words=4), paragraph(note)])


def training_row(run: Run, evidence: Evidence) -> list:
    show, log, best, scored = run.source.show, run.log, run.best, evidence.scores_of(run)
    seconds = log.get('seconds')
    auc, interval, eer = DASH, '', DASH
    if scored and not scored.reason:
        auc = scored.source.show(scored.auc, '{:.3f}', 'auc')
        eer = scored.source.show(scoring.equal_error_rate(scored.labels, scored.logits), '{:.1%}', 'eer')
        interval = recorded_interval(run, scored, evidence)
    name = element('a', run.source.name.removesuffix('[last]'), href=f'#{anchor(run)}')
    return [
        joined([name, evidence.marks_of(run)]), log['dataset'], log['model'], run.facts.get('backbone_weights') or DASH,
        parameters(run, evidence), show(len(log['val_acc']), '{}', 'epochs'),
        show(sum(seconds), '{:.0f} s', 'seconds') if seconds else DASH,
        show(log['val_acc'][best], '{:.2f}', 'best val_acc'),
        show(log['test_acc'][best], '{:.2f}', 'test_acc at the best val_acc'),
        show(scoring.run_constant_accuracy(log), '{:.2f}', 'accuracy of a constant predictor'),
        joined([auc, interval]), eer,
    ]  # fmt: skip


def anchor(run: Run) -> str:
    return 'run-' + ''.join(character if character.isalnum() else '-' for character in run.source.name)


def parameters(run: Run, evidence: Evidence) -> Html:
    if run.facts.get('parameters'):
        return run.source.show(run.facts['parameters'], '{:,}', 'parameters')
    counted = evidence.parameters.get('networks', {}).get(run.log['model'])
    return Source('nof_params.json').show(counted, '{:,}', run.log['model'])


def recorded_interval(run: Run, scored: Scored, evidence: Evidence) -> Html:
    """The interval of the AuC, as the command that computed it recorded it for the same checkpoint."""
    dataset = str(scored.record.get('dataset'))
    metrics = evidence.metrics.get(records.metrics_path('', run.name, dataset).stem, {})
    if metrics.get('checkpoint_sha256') == scored.record.get('checkpoint_sha256'):
        ends = (metrics.get('metrics') or {}).get('auc', {}).get('interval')
        if ends:
            return Source(f'metrics/{run.name}').interval(ends, '{:.3f}', f'auc on {dataset}')
    return run.source.interval(run.log.get('test_auc_interval'), '{:.3f}', 'test_auc_interval')


# --- figures of all --------------------------------------------------------------------------------------------------


def epochs(evidence: Evidence, album: Album) -> Html:
    runs = [run for run in evidence.runs if not run.is_classical and len(run.log['val_acc']) > 1]
    if not runs:
        return paragraph('No training of more than one epoch was found.')
    best = sorted(runs, key=lambda run: -run.log['val_acc'][run.best])[:LINES]
    caption = say('Validation accuracy and loss over the epochs{}{}', left_out(len(runs)), all_marks(map(evidence.marks_of, best)))
    figure = album.draw(lambda: plot_epochs(best), caption, 'Validation accuracy and loss over the epochs of each training')
    courses = [(joined([run.source.name.removesuffix('[last]'), evidence.marks_of(run)]), findings.course(run)) for run in runs[:40]]
    return joined([figure, table('How each training went', ('training', 'course'), courses, words=2)])


def left_out(number: int) -> str:
    return f': the best {LINES} of {number}' if number > LINES else ''


def all_marks(marks) -> Html:
    """Each mark once."""
    return joined(dict.fromkeys(mark for mark in marks if mark))


def plot_epochs(runs: Sequence[Run]):
    figure = plots.new_figure(height=3.2 + 0.16 * len(runs))
    axes = figure.subplots(1, 2)
    for number, run in enumerate(runs):
        for ax, key in zip(axes, ('val_acc', 'val_loss'), strict=True):
            values = [np.nan if value is None else value for value in run.log.get(key, [])]
            ax.plot(range(1, len(values) + 1), values, marker='o', markersize=3, label=run.source.name.removesuffix('[last]'), **look(number))
    for ax, label in zip(axes, ('validation accuracy [%]', 'validation loss'), strict=True):
        ax.set(xlabel='epoch', ylabel=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', frameon=False, ncols=1)
    return figure


def look(number: int) -> dict:
    """Colour and dashes of a line, seven colours for each kind of dashes."""
    dashes = ('-', '--', ':', '-.')[number // len(LINE_COLOURS) % 4]
    return {'color': LINE_COLOURS[number % len(LINE_COLOURS)], 'linestyle': dashes}


def roc_and_det(evidence: Evidence, album: Album) -> Html:
    """A figure of each kind for each test part; detectors that left out other images stand in another."""
    sound = [scored for scored in evidence.scores.values() if not scored.reason]
    if not sound:
        return missing('No detector was scored yet.', 'python numerical_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset')

    def images(scored: Scored) -> tuple:
        return str(scored.record.get('dataset')), str(scored.record.get('data_fingerprint')), scored.labels.tobytes()

    figures = []
    for (dataset, *_), members in groupby(sorted(sound, key=images), key=images):
        members = sorted(members, key=lambda scored: -scored.auc)
        shown = members[:LINES]
        marks = all_marks(map(evidence.marks_of_scored, shown))
        for name, plot in (('ROC', plots.plot_roc), ('DET', plots.plot_det)):
            caption = say('{} on {}, test{}{}', name, dataset, left_out(len(members)), marks)
            alt = f'{name} curves of {len(shown)} detectors on {dataset}'
            figures.append(album.draw(lambda plot=plot, shown=shown: plot_all(plot, shown), caption, alt))
    return element('div', *figures, class_='figures')


def plot_all(plot, shown: Sequence[Scored]):
    from cycler import cycler
    from matplotlib import rc_context

    looks = [look(number) for number in range(LINES)]
    cycle = cycler(color=[each['color'] for each in looks]) + cycler(linestyle=[each['linestyle'] for each in looks])
    figure = plots.new_figure(height=4.6 + 0.17 * len(shown), width=5.0)
    with rc_context({'axes.prop_cycle': cycle}):
        plot({scored.detector: scored.logits for scored in shown}, shown[0].labels, figure.subplots())
    return figure


# --- the benchmark ---------------------------------------------------------------------------------------------------

BENCHMARK = 'python benchmark.py --checkpoints checkpoints/*_Adam.pt --datasets fakes_dataset synthetic_dataset'


def rows_of(evidence: Evidence) -> list[dict]:
    rows = evidence.benchmark.get('rows', [])
    return [row for row in rows if row.get('level') == 'frame' and row.get('model')]


def benchmark_marks(evidence: Evidence, row: dict) -> Html:
    facts = (evidence.benchmark.get('datasets') or {}).get(row['dataset'], {})
    return evidence.marks(row['dataset'], facts.get('data_fingerprint'), row.get('backbone_weights'))


def cross(evidence: Evidence) -> Html:
    rows, show = [row for row in rows_of(evidence) if row['perturbation'] is None], Source('benchmark.json')
    if not rows:
        return missing('No benchmark was run yet.', BENCHMARK)
    names = list(dict.fromkeys(row['dataset'] for row in rows))
    cells = {(row['detector'], row['dataset']): row for row in rows}

    def cell(detector: str, dataset: str) -> Html:
        row, key = cells[detector, dataset], f'{detector} on {dataset}: auc'
        auc = show.show(row['auc'], '{:.3f}', key)
        auc = element('strong', auc) if row['own'] else auc
        return joined([auc, show.interval((row['auc_low'], row['auc_high']), '{:.3f}', key), benchmark_marks(evidence, row)])

    lines = [(detector, *(cell(detector, name) for name in names)) for detector in dict.fromkeys(row['detector'] for row in rows)]
    note = 'Bold: the detector was trained on this data set. The distance to the other columns is what it does not know of other fakes.'
    return joined([table('AuC on test with its 95% interval over groups', ('detector', *names), lines), paragraph(note)])


def robustness(evidence: Evidence, album: Album) -> Html:
    rows, show = rows_of(evidence), Source('benchmark.json')
    perturbed = [row for row in rows if row['perturbation'] is not None]
    if not perturbed:
        return missing('No perturbed pictures were scored yet.', f'{BENCHMARK} --perturb jpeg:30,50,70,90 blur:0.5,1,2')
    columns = list(dict.fromkeys(condition(row) for row in [row for row in rows if row['perturbation'] is None] + perturbed))
    cells = {(row['detector'], row['dataset'], condition(row)): row for row in rows}
    lines = []
    for detector, dataset in dict.fromkeys((row['detector'], row['dataset']) for row in perturbed):
        own = [(column, cells.get((detector, dataset, column))) for column in columns]
        values = [show.show(row['auc'], '{:.3f}', f'{detector} on {dataset}, {column}: auc') if row else DASH for column, row in own]
        lines.append((joined([detector, benchmark_marks(evidence, own[0][1])]), dataset, *values))
    caption = say('AuC against the strength of the perturbation{}', all_marks(benchmark_marks(evidence, row) for row in perturbed))
    figure = album.show('benchmark_perturbations.png', caption, 'AuC of each detector against the strength of each perturbation')
    return joined([table('AuC on perturbed test pictures', ('detector', 'data set', *columns), lines, words=2), figure])


def condition(row: dict) -> str:
    return 'as they are' if row['perturbation'] is None else f'{row["perturbation"]} {row["strength"]:g}'


# --- pairs, kernels, settings, others --------------------------------------------------------------------------------


def pairs(evidence: Evidence, album: Album) -> Html:
    if not evidence.comparisons:
        return missing('No two detectors were compared yet.', 'python compare_detectors.py checkpoints/fakes_dataset_SimpleNet_Adam.pt checkpoints/bonus.pt -d fakes_dataset')
    parts = []
    for name, record in evidence.comparisons.items():
        source = Source(f'comparisons/{name}.json')
        marks = evidence.marks(record.get('dataset', ''), record.get('data_fingerprint'))
        rows = [pair_row(source, row) for row in record['pairs']]
        caption = say('{}, {}: the second less the first{}', record.get('dataset'), record.get('condition'), marks)
        head = ('first, second', 'AuC difference (95% interval)', 'p (DeLong, Holm)', 'only first right', 'only second right', 'p (McNemar)')
        parts += [table(caption, head, rows), *(paragraph(comparing.verdict(row)) for row in record['pairs'])]
        caption = joined([f'Where the two disagree most: {name}', marks])
        parts.append(album.show(f'{name}_disagreements.png', caption, 'The images on which the two detectors disagree most'))
    return joined(parts)


def pair_row(source: Source, row: dict) -> list:
    names, auc, table_of_two = f'{row["first"]}, {row["second"]}', row['metrics']['auc'], row['mcnemar']

    def show(value, form: str, key: str) -> Html:
        return source.show(value, form, f'{names}: {key}')

    interval = source.interval(auc['interval'], '{:+.3f}', f'{names}: auc difference')
    return [
        say('{},<br>{}', row['first'], row['second']) if False else joined([row['first'], ', ', row['second']]),
        joined([show(auc['difference'], '{:+.3f}', 'auc difference'), interval]),
        show(row.get('holm_p'), '{:.2g}', 'holm_p'),
        show(table_of_two['first_only'], '{}', 'first_only'),
        show(table_of_two['second_only'], '{}', 'second_only'),
        show(table_of_two['p'], '{:.2g}', 'mcnemar p'),
    ]


def kernels(evidence: Evidence, album: Album) -> Html:
    runs = [run for run in evidence.runs if run.is_classical and run.newest]
    if not runs:
        return missing('No classical detector was trained yet.', 'python train_svm.py -d synthetic_dataset --features spectrum --all')
    rows = []
    for run in runs:
        show, log, arguments = run.source.show, run.log, run.facts.get('arguments') or {}
        spectrum = arguments.get('features') == 'spectrum'
        rows.append([
            joined([log['model'], evidence.marks_of(run)]), log['dataset'], show(log.get('cv_auc'), '{:.3f}', 'cv_auc'),
            show(log.get('val_auc'), '{:.3f}', 'val_auc'),
            joined([show(log.get('test_auc'), '{:.3f}', 'test_auc'),
                    run.source.interval(log.get('test_auc_interval'), '{:.3f}', 'test_auc_interval')]),
            show(log['test_acc'][0], '{:.2f}', 'test_acc at the best val_acc'),
            show(log.get('test_constant_acc'), '{:.2f}', 'test_constant_acc'),
            joined([published.KERNELS.get(arguments.get('classifier'), DASH) if spectrum else DASH]),
        ])  # fmt: skip
    head = ('detector', 'data set', 'AuC, cross-validation', 'AuC, val', 'AuC, test (95%)', 'accuracy, test', 'one answer', joined(['AuC of the lab report', THEIRS]))
    figures = []
    for dataset in dict.fromkeys(run.log['dataset'] for run in runs):
        caption = joined([f'Mean spectra of {dataset}, train', evidence.marks(dataset, runs[0].fingerprint if len(runs) == 1 else None)])
        figures.append(album.show(f'{dataset}_spectrum_mean_spectra.png', caption, f'Mean azimuthal spectra of the real and of the fake images of {dataset}'))
    return joined([table('Features and classifiers', head, rows, words=2), paragraph(joined([published.LAB, THEIRS])), *figures])


def ablation(evidence: Evidence, album: Album) -> Html:
    rows = [(name, place, row) for name, table_of in evidence.searches.items() for place, row in enumerate(table_of)]
    head = ('optimizer', 'model', 'data set', 'dense', 'dropout', 'augmentation', 'rate', 'loss', 'accuracy', 'trial')
    lines = []
    for name, _, row in rows[:60]:
        dataset, source = name.removesuffix('_search'), Source(f'{name}.csv')
        key = f'{row["model"]} trial {row["trial"]}'

        def show(column: str, form: str, row=row, source=source, key=key) -> Html:
            return source.show(float(row[column]) if row[column] else None, form, f'{key}: {column}')

        lines.append([
            joined([row['optimizer'], evidence.marks(dataset)]), row['model'], dataset, row['dense'] or DASH,
            f'{float(row["dropout"]):.1f}' if row['dropout'] else DASH, row['augmentation'], show('rate', '{:.3g}'),
            show('loss', '{:.3f}'), show('accuracy', '{:.2f}'), row['trial'],
        ])  # fmt: skip
    searched = table('Searched on the validation part; the test part was not looked at', head, lines, words=6)
    if not lines:
        searched = missing('Nothing was searched yet.', 'python hyperparameter_search.py -d fakes_dataset -m CustomCNN --trials 20')
    elif len(rows) > len(lines):
        searched = joined([searched, paragraph(f'The first {len(lines)} of {len(rows)} trials; all are in out/*_search.csv.')])
    return joined([searched, approaches(evidence)])


def approaches(evidence: Evidence) -> Html:
    """The slides' two approaches beside our trainings of the same."""
    rows = []
    for model, (title, accuracy) in published.SLIDES.items():
        runs = [run for run in evidence.runs if run.log['model'] == model and run.newest]
        ours = joined([our_accuracy(run, evidence) for run in runs], '; ') if runs else code(f'python train_main.py -d fakes_dataset -m {model} -o Adam -b 32 -e 5')
        rows.append((title, accuracy, ours))
    return table("The slides' two approaches: test accuracy", ('approach', joined(['slides', THEIRS]), 'ours'), rows, words=3)


def our_accuracy(run: Run, evidence: Evidence) -> Html:
    accuracy = run.source.show(run.log['test_acc'][run.best], '{:.2f}%', 'test_acc at the best val_acc')
    return joined([accuracy, f' on {run.log["dataset"]}', evidence.marks_of(run)])


def theirs(evidence: Evidence) -> Html:
    rows = []
    for student in published.STUDENTS:
        run = evidence.newest(records.run_name(student.dataset, student.model, 'Adam'))
        ours: Html | str = 'not trained yet'
        if run:
            validation = run.source.show(run.log['val_acc'][run.best], '{:.2f}%', 'best val_acc')
            epoch = run.source.show(run.best + 1, '{}', 'epoch of the best val_acc')
            ours = say('{} → {} (epoch {}){}', validation, run.source.show(run.log['test_acc'][run.best], '{:.2f}%', 'test_acc at the best val_acc'), epoch, evidence.marks_of(run))
        rows.append((f'{student.model} on {student.dataset}', student.first, student.second, ours))
    head = ('training', joined(['student report 1', THEIRS]), joined(['student report 2', THEIRS]), 'ours')
    bonus = paragraph(joined(['Bonus: ', published.BONUS, THEIRS, '; ours stands under ', element('a', 'Bonus', href='#qbonus'), '.']))
    note = "Theirs are of the course's data and other splits, so that a difference between the columns tells of both, data and detector."
    return joined([table('Best validation accuracy → its test accuracy', head, rows, words=4), bonus, paragraph(note)])
