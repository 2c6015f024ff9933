"""What others reported of the same questions, beside ours. Theirs is other data and other splits, and marked so."""

from typing import NamedTuple

from forensics import records
from forensics.reporting.album import Album
from forensics.reporting.comparison import missing
from forensics.reporting.evidence import Evidence, Run, sections
from forensics.reporting.page import (
    DASH,
    Html,
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

SVM = 'python train_svm.py -d synthetic_dataset --features spectrum --all'
SEARCH = 'python hyperparameter_search.py -d fakes_dataset -m CustomCNN --trials 20'
TRIALS = 60  # of a search in the table; the rest stays in its file


class Student(NamedTuple):
    """Best validation accuracy and its test accuracy in the two student reports."""

    dataset: str
    model: str
    first: str
    second: str


STUDENTS = (
    Student('fakes_dataset', 'SimpleNet', '87.29% → 84.62% (epoch 3)', '87.5% → 81.1% (epoch 5), AuC 0.885 and 0.116'),
    Student('synthetic_dataset', 'SimpleNet', '50.04% → 50.04%, a constant predictor', '50.04% → 49.95%'),
    Student('synthetic_dataset', 'XceptionBased', '97.27% → 97.10% (epoch 2)', '94.7% → 96.1% (epoch 2)'),
)
BONUS = 'report 2: MyNet, 34,850 parameters, AuC 95.8, score 2.61 by its formula (2.89 in print)'
# AuC of the spectrum with each kernel on UADFV.
KERNELS = {'svm-poly': '0.78', 'svm-linear': '0.71', 'svm-rbf': '0.73', 'svm-sigmoid': '0.42'}
LAB = (
    'The lab report took UADFV, and had AuC 0.43 on Celeb-DF without training again; 0.62 with the features of '
    'ResNet-50 and a linear kernel on a third set. Augmentation and joined features brought it no gain.'
)
# Test accuracy on 16,000 balanced faces of videos like DFDC's.
SLIDES = {'CustomCNN': ('own CNN from scratch', '49.6%'), 'XceptionTransfer': ('Xception, transfer learning', '82.66%')}
THEIRS = mark('theirs', 'theirs')


def part(evidence: Evidence, album: Album) -> Html:
    searched = 'Hyper-parameters: the ablation table'
    return sections(
        evidence,
        ('kernels', 'Classical detectors: the kernel table', lambda: kernels(evidence, album)),
        ('ablation', searched, lambda: joined([ablation(evidence), approaches(evidence)])),
        ('theirs', 'What the student reports got', lambda: students(evidence)),
    )


def kernels(evidence: Evidence, album: Album) -> Html:
    runs = [run for run in evidence.runs if run.is_classical and run.newest]
    if not runs:
        return missing('No classical detector was trained yet.', SVM)
    head = (
        'detector', 'data set', 'AuC, cross-validation', 'AuC, val', 'AuC, test (95% interval)', 'accuracy, test',
        'one answer', joined(['AuC of the lab report', THEIRS]),
    )  # fmt: skip
    figures = []
    for dataset in dict.fromkeys(run.log['dataset'] for run in runs):
        file = records.figure_path('', dataset, 'spectrum', 'mean_spectra').name
        caption = joined([f'Mean spectra of {dataset}, train', evidence.marks(dataset)])
        figures.append(album.show(file, caption, f'Mean spectra of the real and of the fake images of {dataset}'))
    rows = evidence.each(runs, lambda run: kernel_row(run, evidence))
    return joined([table('Features and classifiers', head, rows, words=2), paragraph(LAB, THEIRS), *figures])


def kernel_row(run: Run, evidence: Evidence) -> list:
    log, arguments = run.log, run.facts.get('arguments') or {}
    own = arguments.get('features') == 'spectrum'
    return [
        joined([log['model'], evidence.marks_of(run)]), log['dataset'], digits(log.get('cv_auc'), '{:.3f}'),
        digits(log.get('val_auc'), '{:.3f}'),
        joined([digits(log.get('test_auc'), '{:.3f}'), span(log.get('test_auc_interval'), '{:.3f}')]),
        run.test_accuracy('{:.2f}'), digits(log.get('test_constant_acc'), '{:.2f}'),
        KERNELS.get(arguments.get('classifier'), DASH) if own else DASH,
    ]  # fmt: skip


def ablation(evidence: Evidence) -> Html:
    if not evidence.searches:
        return missing('Nothing was searched yet.', SEARCH)
    head = ('optimizer', 'model', 'dense', 'dropout', 'augmentation', 'rate', 'loss', 'accuracy', 'trial')
    tables = []
    for name, trials in evidence.searches.items():
        dataset = name.removesuffix('_search')
        shown = f', the best {TRIALS} of {len(trials)} trials' if len(trials) > TRIALS else ''
        caption = f'Searched on {dataset}, validation{shown}; the test part was not looked at'
        rows = evidence.each(
            trials[:TRIALS], lambda row, dataset=dataset: trial_row(row, dataset, evidence), f'{name}.csv'
        )
        tables.append(table(caption, head, rows, words=5))
    return joined(tables)


def trial_row(row: dict[str, str], dataset: str, evidence: Evidence) -> list:
    def show(column: str, form: str) -> Html:
        return digits(float(row[column]) if row[column] else None, form)

    dropout = f'{float(row["dropout"]):.1f}' if row['dropout'] else DASH
    # A table of an older version has neither column.
    marks = evidence.marks(dataset, None, {'backbone_weights': row.get('backbone_weights')}, row.get('data_source'))
    return [
        row['optimizer'], joined([row['model'], marks]), row['dense'] or DASH, dropout,
        {'True': 'yes', 'False': 'no'}[row['augmentation']], show('rate', '{:.3g}'), show('loss', '{:.3f}'),
        show('accuracy', '{:.2f}'), row['trial'],
    ]  # fmt: skip


def approaches(evidence: Evidence) -> Html:
    """The slides' two approaches beside our trainings of the same."""
    rows = []
    for model, (title, accuracy) in SLIDES.items():
        runs = [run for run in evidence.runs if run.log['model'] == model and run.newest]
        ours = [say('{} on {}{}', run.test_accuracy(), run.log['dataset'], evidence.marks_of(run)) for run in runs]
        command = code(f'python train_main.py -d fakes_dataset -m {model} -o Adam -b 32 -e 5')
        rows.append((title, accuracy, joined(ours, '; ') if ours else command))
    head = ('approach', joined(['slides', THEIRS]), 'ours')
    return table("The slides' two approaches: test accuracy", head, rows, words=3)


def students(evidence: Evidence) -> Html:
    rows = []
    for student in STUDENTS:
        name = records.run_name(student.dataset, student.model, 'Adam')
        run = evidence.newest(name)
        ours = evidence.untrained(name) if run is None else say(
            '{} → {} (epoch {}){}', run.validation(), run.test_accuracy(), run.best_epoch(), evidence.marks_of(run)
        )  # fmt: skip
        rows.append((f'{student.model} on {student.dataset}', student.first, student.second, ours))
    head = ('training', joined(['student report 1', THEIRS]), joined(['student report 2', THEIRS]), 'ours')
    link = element('a', 'Bonus', href='#qbonus')
    note = (
        "Theirs are of the course's data and other splits, so that a difference between the columns tells of both, "
        'data '
        'and detector.'
    )
    return joined([
        table('Best validation accuracy → its test accuracy', head, rows, words=4),
        paragraph('Bonus: ', BONUS, THEIRS, '; ours stands under ', link, '.'),
        paragraph(note),
    ])  # fmt: skip
