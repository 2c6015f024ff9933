"""The report: its numbers are those of the records, its sentences hang on them, and nothing in it is invented."""

import json
import math
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

import make_report
from forensics import records
from forensics.errors import UserError
from forensics.judging import comparing, plots, scoring
from forensics.reporting import assignment, findings, report, reproduction
from forensics.reporting.album import Album
from forensics.reporting.evidence import Evidence
from forensics.reporting.page import as_text, lines_of, numbers_in

HEALTHY = {'train_loss': [0.7, 0.4, 0.2], 'val_loss': [0.6, 0.4, 0.3]}
OVERFITTING = {'train_loss': [0.7, 0.4, 0.1], 'val_loss': [0.6, 0.4, 0.9]}
BLIND = {'train_loss': [0.72, 0.7, 0.69], 'val_loss': [0.7, 0.694, 0.693]}
DRAWN = 'drawn by make_demo_data.py; no photograph was used'


def write_run(dataset='fakes_dataset', model='SimpleNet', curves=HEALTHY, **facts) -> None:
    data = {part: {'real': 40, 'fake': 20, 'fingerprint': f'{part} of {dataset}'} for part in ('train', 'val', 'test')}
    run = {
        'id': f'{dataset} {model} {facts}', 'dataset': dataset, 'data': data, 'data_source': 'a camera', 'seed': 3,
        'commit': 'abc1234', 'versions': {'torch': '2.0'},
        'arguments': {'dataset': dataset, 'model': model, 'optimizer': 'Adam', 'lr': 0.001, 'epochs': 3},
    }  # fmt: skip
    log = {
        'model': model, 'dataset': dataset, 'optimizer': {'name': 'Adam', 'params': {'lr': 0.001}},
        'train_acc': [60.0, 80.0, 95.0], 'val_acc': [50.0, 87.5, 87.5], 'test_acc': [99.0, 81.125, 98.0],
        'test_loss': [0.6, 0.5, 0.5], 'seconds': [10.0, 11.0, 12.0], **curves, 'run': run | facts,
    }  # fmt: skip
    records.append_run(records.log_path('out', records.run_name(dataset, model, 'Adam')), log)


def write_scores(dataset='fakes_dataset', model='SimpleNet', shift=0.0, separation=2.0, number=60, **facts) -> dict:
    name = records.run_name(dataset, model, 'Adam')
    labels = np.repeat([0, 1], [2 * number // 3, number // 3])
    second = np.random.default_rng(0).normal(size=number) + separation * (labels - 0.5) + shift
    facts = {
        'dataset': dataset,
        'model': model,
        'data_fingerprint': f'test of {dataset}',
        'data_source': 'a camera',
    } | facts
    path = records.scores_path('out', name, dataset)
    files = [f'{"fake" if label else "real"}/{place}.jpg' for place, label in enumerate(labels)]
    records.write_scores(path, files, labels, [[-value, value] for value in second], **facts)
    return records.read_scores(path)


def written() -> str:
    """The page as the command writes it, with its figures."""
    assert make_report.main(['--no-pdf']) == 0
    return Path('out/report.html').read_text()


def page_now() -> str:
    """The page without its figures, which takes milliseconds."""
    evidence = Evidence('out', 'checkpoints')
    page = report.build(evidence, Album('figures', None, evidence))
    assert '&lt;span' not in page and '&lt;code' not in page  # HTML that was escaped is no text for people
    return page


def section_html(page: str, identifier: str) -> str:
    return re.search(rf'<section id="{identifier}".*?(?=<section|\Z)', page, re.S)[0]


def section(page: str, identifier: str) -> str:
    """The text of a section, as people read it."""
    found = section_html(page, identifier)
    return ' '.join(as_text(re.sub('<(?=p|h3|t[dhr]|li|div|summary|/h3)', ' <', found)).split())


@pytest.fixture(autouse=True)
def no_data(workdir, monkeypatch):
    monkeypatch.setenv('FACES_DATASETS', str(workdir / 'nowhere'))


# --- numbers ---------------------------------------------------------------------------------------------------------


def rows(page: str, identifier: str, first: str) -> list[list[str]]:
    """The cells of the rows of a section whose first cell begins like this."""
    found = re.findall(r'<tr>(.*?)</tr>', section_html(page, identifier), re.S)
    cells = [[as_text(cell) for cell in re.findall(r'<t[dh][^>]*>(.*?)</t[dh]>', row, re.S)] for row in found]
    return [row for row in cells if row and row[0].startswith(first)]


def test_numbers_in_the_page_are_those_of_the_records():
    write_run()
    record = write_scores()
    labels, logits = np.array(record['labels']), scoring.fake_logits(record['scores'])
    records.write_json('out/nof_params.json', {'fc_input': 2048, 'networks': {'SimpleNet': 16_901_762}})
    page = page_now()
    (row,) = rows(page, 'trainings', 'fakes_dataset_SimpleNet_Adam.json')
    assert row[4:9] == ['16,901,762', '3', '33 s', '87.50', '81.12']
    auc, rate = scoring.auc(labels, logits), scoring.equal_error_rate(labels, logits)
    assert 0.5 < auc < 1 and 0 < rate < 0.5 and row[-2:] == [f'{auc:.3f}', f'{rate:.1%}']
    assert '81.12% (epoch 2, validation 87.50%)' in section(page, 'q8') and '= 0.50' in section(page, 'q9')
    assert f'difference {auc:.3f}' in section(page, 'q10') and '2,048' in section(page, 'q21')
    (row,) = rows(page, 'calibration', 'fakes_dataset_SimpleNet_Adam')
    assert row[3] == f'{np.mean((scoring.fake_probability(record["scores"]) - labels) ** 2):.3f}'


def test_every_question_stands_in_order_with_an_answer():
    page = page_now()
    asked = re.findall(r'<section id="q(\w+)"', page)
    assert asked == [*map(str, range(1, 36)), 'bonus']
    for number in asked:
        title = next(question.asks for question in assignment.QUESTIONS if question.number == number)
        answer = section(page, f'q{number}').partition(title)[2]
        assert len(answer.split()) > 3, number


# --- sentences that hang on numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('curves', 'says', 'never'),
    [(HEALTHY, 'no overfitting shows', 'overfits from'), (OVERFITTING, 'overfits from epoch 3', 'no overfitting'),
     (BLIND, 'learns nothing that holds', 'overfits from'),
     ({'train_loss': [0.4, 0.1, 0.1], 'val_loss': [1e-6, 1e-5, 1e-4]}, 'no overfitting shows', 'overfits from')],
    ids=['healthy', 'overfitting', 'blind', 'noise'],
)  # fmt: skip
def test_the_course_of_a_training_is_read_off_its_curves(curves, says, never):
    write_run(curves=curves, data={'val': {'real': 20, 'fake': 20}})
    words = section(page_now(), 'q7')
    assert says in words and never not in words


@pytest.mark.parametrize(
    ('shift', 'separation', 'says'),
    [(-20, 0, 'a constant predictor: 100.0%'), (0, 0, 'no better than chance'), (0, 4, 'no constant predictor')],
)
def test_constant_predictor_only_where_predictions_are_constant(shift, separation, says):
    write_run('synthetic_dataset')
    write_scores('synthetic_dataset', shift=shift, separation=separation)
    page = page_now()
    assert says in section(page, 'q16').lower()
    assert ('gives nearly all images one answer' in section(page, 'q17')) == (shift == -20)


def test_two_scores_that_are_no_mirror_images_are_not_called_so():
    write_run()
    record = write_scores()
    path = records.scores_path('out', 'fakes_dataset_SimpleNet_Adam', 'fakes_dataset')
    assert 'add up to 1.000.' in section(page_now(), 'q11')
    records.write_json(path, record | {'scores': [[second, second + first / 9] for first, second in record['scores']]})
    assert 'no exact opposites' in section(page_now(), 'q11')


# --- marks -----------------------------------------------------------------------------------------------------------


def test_demo_data_and_random_weights_are_marked_wherever_they_appear():
    facts = {'backbone_weights': 'random', 'data_source': DRAWN}
    write_run('synthetic_dataset', 'XceptionBased', **facts)
    write_scores('synthetic_dataset', 'XceptionBased', **facts)
    for name in ('losses_plot', 'roc_curve', 'reliability', 'Fake_Image_grad_cam'):
        picture('synthetic_dataset_XceptionBased_' + name)
    page = page_now()
    rows = [
        row for row in re.findall(r'<tr>.*?</tr>|<figcaption>.*?</figcaption>', page, re.S) if 'XceptionBased' in row
    ]
    assert len(rows) >= 8
    assert all('demo data' in row for row in rows), [row for row in rows if 'demo data' not in row]
    assert all('random backbone weights' in row for row in rows), [row for row in rows if 'random' not in row]
    assert 'RANDOM weights' in section(page, 'q27') and '1 of 1 trainings are of demo data' in section(page, 'reading')


def test_real_data_of_the_same_name_are_not_called_demo_data():
    write_run()
    assert 'class="mark caution">demo data' not in page_now()


def test_data_of_unknown_origin_are_marked():
    """A record of an older version does not say where its data came from."""
    write_run()
    path = Path('out/fakes_dataset_SimpleNet_Adam.json')
    (run,) = json.loads(path.read_text())
    del run['run']['data_source']
    records.write_json(path, [run])
    assert 'origin of the data unknown' in section(page_now(), 'trainings')


def test_what_others_reported_is_marked_as_theirs():
    page = section(page_now(), 'theirs')
    assert 'student report 1 theirs' in page and '87.29% → 84.62%' in page and '2.61' in page


# --- bad records, no records -----------------------------------------------------------------------------------------


def test_a_report_without_runs_says_what_to_type_first():
    page = page_now()
    assert 'No run was found' in page and './run_me.sh' in page
    assert 'not known yet; run `python nof_params.py`' in section(page, 'q22').lower()
    assert 'python plot_samples_of_faces_datasets.py' in section(page, 'q2')


def test_bad_and_half_written_records_are_named_and_skipped(capsys):
    write_run(model='MyNet')
    bad = {
        'out/fakes_dataset_SimpleNet_Adam.json': '[{"model": "Simp',
        'out/strange.json': '{"what": 1}',
        'out/no_curve_SGD.json': '[{"model": "m", "dataset": "d", "val_acc": [null], "test_acc": [1]}]',
        'out/scores/a__b__test.json': '{"labels": [0, 1], "scores": [[1]]}',
        'out/scores/c__d__test.json': '[]',
        'out/metrics/e__f__test.json': 'nonsense',
        'out/benchmark.json': '{}',
        'out/comparisons/x.json': '[1]',
        'out/audits/y.json': '{"pro',
        'out/bonus.json': '3',
        'figures/datasets_samples.png': 'no picture',
    }
    for path, text in bad.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    page = written()
    errors = capsys.readouterr().err
    for path in bad:
        assert path in section(page, 'skipped'), path
        assert path in errors, path
    assert 'fakes_dataset_MyNet_Adam.json' in section(page, 'trainings')


@pytest.mark.parametrize(
    'record', ['benchmark.json', 'comparisons/x.json', 'audits/y.json', 'metrics/z.json', 'x_search.csv']
)
def test_a_record_whose_inside_is_wrong_spoils_nothing_else(record):
    """Defect: a key of the right name with something else in it ended in a traceback."""
    write_run()
    inside = {'rows': [{'level': 'frame', 'model': 'm'}], 'pairs': [{}], 'problems': 5, 'metrics': 3}
    path = Path('out', record)
    path.parent.mkdir(exist_ok=True)
    path.write_text('a,b\n1,2\n' if record.endswith('csv') else json.dumps(inside))
    page = page_now()
    assert 'fakes_dataset_SimpleNet_Adam.json' in section(page, 'trainings')
    if 'metrics' not in record:
        assert record in section(page, 'skipped')


def test_scores_of_an_overwritten_checkpoint_are_not_taken_for_its_own():
    """Defect: trained anew, not scored anew, and the table showed the new accuracy beside the old AuC."""
    write_run()
    path = records.scores_path('out', 'fakes_dataset_SimpleNet_Adam', 'fakes_dataset')
    Path('checkpoints').mkdir()
    checkpoint = Path('checkpoints/fakes_dataset_SimpleNet_Adam.pt')
    checkpoint.write_bytes(b'first')
    write_scores(checkpoint_sha256=records.file_digest(checkpoint))
    os.utime(path, (1, 1))
    assert 'not known yet' not in section(page_now(), 'q10') and 'trained anew' not in page_now()
    checkpoint.write_bytes(b'second')
    assert 'trained anew' in section(page_now(), 'q10')


def run_of(name: str) -> dict:
    """The facts of the newest training of this name."""
    return records.training_facts(name, records.last_run(f'out/{name}.json')['run'])


NAMES = [f'fakes_dataset_{model}_Adam' for model in ('SimpleNet', 'MyNet')]


def write_pair(detectors: dict[str, dict]) -> None:
    """A comparison of two detectors, and a benchmark of the same."""
    labels, logits = np.repeat([0, 1], 30), [np.arange(60.0), np.arange(60.0)[::-1]]
    pairs = comparing.compare(NAMES, labels, logits, np.arange(60), [29.5, 29.5])
    facts = {'dataset': 'fakes_dataset', 'level': 'frame', 'condition': 'test'}
    common = {'detectors': detectors}
    records.write_json('out/comparisons/two.json', {**facts, **common, 'pairs': pairs, 'command': 'again compare'})
    row = {'perturbation': None, 'backbone_weights': None, 'own': False, 'auc': 0.75, 'auc_low': 0.7, 'auc_high': 0.8}
    rows = [{**facts, **row, 'detector': name} for name in NAMES]
    benchmark = {'rows': rows, 'datasets': {}, 'pairs': [{**facts, **pair} for pair in pairs]}
    records.write_json('out/benchmark.json', {**benchmark, **common, 'command': 'again benchmark'})


def test_records_of_another_training_do_not_stand_beside_the_newest():
    """Defect: a log, scores, comparisons and a benchmark of different trainings of one name stood in one row."""
    for model in ('SimpleNet', 'MyNet'):
        write_run(model=model, id=f'first {model}')
        write_scores(model=model, run_id=f'first {model}')
    write_pair({name: run_of(name) for name in NAMES})
    page = page_now()
    assert section(page, 'skipped').endswith('is of the newest training of its name.')
    assert '0.750' in section(page, 'cross') and 'the first is better' in section(page, 'pairs')

    write_run(id='second')
    page = page_now()
    scores = 'out/scores/fakes_dataset_SimpleNet_Adam__fakes_dataset__test.json'
    command = (
        'python numerical_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset'
    )
    skipped = section(page, 'skipped')
    assert scores in skipped and command in skipped and 'again compare' in skipped and 'again benchmark' in skipped
    newest = re.search(r'<tr>(?:(?!</tr>).)*SimpleNet_Adam.json<.*?</tr>', section_html(page, 'trainings'))[0]
    assert newest.count('–') >= 2  # neither AuC nor EER
    assert command in section(page, 'q10')
    assert 'fakes_dataset_SimpleNet_Adam' not in section(page, 'cross') and NAMES[1] in section(page, 'cross')
    assert 'is better' not in section(page, 'pairs')

    write_scores(run_id='second')
    assert scores not in section(page_now(), 'skipped')


def test_what_commands_write_says_of_which_training_it_is(call_main, monkeypatch, tiny_root):
    import numerical_analysis
    import train_svm

    monkeypatch.setenv('FACES_DATASETS', str(tiny_root))
    train = [train_svm, '-d', 'fakes_dataset', '--features', 'spectrum', '--classifier', 'logistic']
    analyse = [numerical_analysis, '-cpp', 'checkpoints/fakes_dataset_spectrum-logistic_svm.npz', '-d', 'fakes_dataset']
    assert call_main(*train)[0] == call_main(*analyse)[0] == 0
    run = run_of('fakes_dataset_spectrum-logistic_svm')
    assert run['run_id'] and run['training_source'] is None
    run['checkpoint_sha256'] = records.file_digest(analyse[2])
    for kind in ('scores', 'metrics'):
        (path,) = Path('out', kind).glob('*__test.json')
        assert run.items() <= records.read_json(path).items()
    (figure,) = Path('figures').glob('*_roc_curve.png')
    assert records.trainings_of_figure(figure) == [run]
    assert 'newest training of its name' in section(page_now(), 'skipped')
    call_main(*train)  # anew; it scores by itself, but the figures and the metrics are still the first one's
    evidence = Evidence('out', 'checkpoints')
    (scored,) = evidence.scores.values()
    assert not evidence.metrics_of(scored) and 'shows another training' in section(page_now(), 'calibration')


def test_scores_that_name_no_training_are_not_given_to_the_second_of_two():
    write_run(id='first')
    write_scores()
    assert 'out/scores' not in section(page_now(), 'skipped')
    write_run(id='second')
    assert 'does not say of which' in section(page_now(), 'skipped')


def test_scores_from_elsewhere_are_no_answers_about_a_training_of_the_same_name():
    """Defect: anybody's CSV file with the name of a training answered questions 9 and 10, unmarked."""
    write_scores(model='SimpleNet')
    path = records.scores_path('out', NAMES[0], 'fakes_dataset')
    records.write_json(path, records.read_scores(path) | {'model': 'scored elsewhere', 'detector': NAMES[0]})
    page = page_now()
    for question in ('q9', 'q10'):
        assert 'No answer: out/scores' in section(page, question) and 'elsewhere' in section(page, question)
    assert rows(page, 'calibration', NAMES[0])  # as anybody's
    write_run()
    facts = {name: records.training_facts(name, {}, 'x') | {'model': 'scored elsewhere'} for name in NAMES}
    write_pair(facts)
    page = page_now()
    assert str(path) in section(page, 'skipped') and 'again compare' in section(page, 'skipped')
    assert not rows(page, 'calibration', NAMES[0]) and 'add up to' not in section(page, 'q11')


def test_scores_of_other_data_of_the_same_name_are_no_answers():
    write_run()
    write_scores(data_fingerprint='other')
    page = page_now()
    for question in ('q9', 'q10'):
        answer = section(page, question)
        assert 'other data of this name' in answer and 'numerical_analysis.py' in answer
    assert 'add up to' not in section(page, 'q11') and 'href="#q9"' in page.partition('Open: ')[2].partition('</p>')[0]


def test_a_name_with_two_low_lines_is_not_read_as_another_detectors():
    """Defect: what stood before the first '__' of the file's name was taken for the detector."""
    record = write_scores()
    for dataset, detector in (('faces', 'a__b'), ('my__faces', 'a__b'), ('faces', 'c:d')):
        facts = {'dataset': dataset, 'detector': detector}
        records.write_json(records.scores_path('out', detector, dataset), record | facts)
    records.write_json('out/scores/e__f__faces__test.json', {key: record[key] for key in ('labels', 'scores')})
    records.write_json('out/scores/renamed__faces__test.json', record | {'dataset': 'faces', 'detector': 'c:d'})
    evidence = Evidence('out', 'checkpoints')
    assert sorted(scored.detector for scored in evidence.scores.values()) == ['a__b', 'a__b', 'c:d', 'e__f', NAMES[0]]
    assert [Path(path).name for path in evidence.broken] == ['renamed__faces__test.json']


def test_a_comparison_of_an_older_checkpoint_is_left_out():
    """calibrate.py changes the checkpoint of the same training."""
    for model in ('SimpleNet', 'MyNet'):
        write_run(model=model, id=model)
        write_scores(model=model, run_id=model, checkpoint_sha256='calibrated')
    write_pair({name: run_of(name) | {'checkpoint_sha256': 'before'} for name in NAMES})
    assert 'again compare' in section(page_now(), 'skipped')
    write_pair({name: run_of(name) | {'checkpoint_sha256': 'calibrated'} for name in NAMES})
    assert 'again compare' not in section(page_now(), 'skipped')


def save_figure(name: str, *trainings: dict) -> None:
    figure = plots.new_figure(height=1, width=1)
    plots.save(figure, Path('figures', f'{name}.png'), trainings)


def test_figures_of_another_training_do_not_stand_under_the_newest():
    """Defect: figures are named by data set and model, so those of another training, or optimizer, were shown."""
    write_run(id='first')
    figures = ('losses_plot', 'roc_curve', 'Fake_Image_grad_cam')
    for name in figures:
        save_figure(f'fakes_dataset_SimpleNet_{name}', run_of(NAMES[0]))
    page = written()
    assert (
        page.count('<img') == 1 + len(figures) and 'does not say of which training' not in page
    )  # one is the report's own
    write_run(id='second')
    page = written()
    assert page.count('<img') == 1
    for question, script in (('q7', 'plot_accuracy_and_loss.py'), ('q10', 'numerical_analysis.py')):
        words = section(page, question)
        assert 'shows another training' in words and f'Draw it again: `python {script} -m SimpleNet' in words
    assert 'href="#q7"' in page.partition('Open: ')[2].partition('</p>')[0]
    save_figure(
        'fakes_dataset_SimpleNet_losses_plot',
        run_of(NAMES[0]) | {'detector': 'fakes_dataset_SimpleNet_SGD', 'run_id': 'x'},
    )
    assert 'shows another training' in section(page_now(), 'q7')


def test_a_figure_that_names_no_training_is_shown_and_marked():
    write_run()
    picture('fakes_dataset_SimpleNet_losses_plot')
    assert 'does not say of which training' in section(page_now(), 'q7')


def test_calibration_figures_stand_under_the_optimizer_that_they_show():
    write_run()
    write_scores(run_id=run_of(NAMES[0])['run_id'])
    path = records.scores_path('out', NAMES[0], 'fakes_dataset')
    other = records.scores_path('out', 'fakes_dataset_SimpleNet_SGD', 'fakes_dataset')
    records.write_json(other, records.read_scores(path) | {'detector': 'fakes_dataset_SimpleNet_SGD', 'run_id': 'sgd'})
    save_figure('fakes_dataset_SimpleNet_reliability', run_of(NAMES[0]))
    page = section(written(), 'calibration')
    assert page.count('Reliability: SimpleNet') == 1 and 'newest of fakes_dataset_SimpleNet_SGD' in page


# --- --check ---------------------------------------------------------------------------------------------------------


def checked(capsys) -> list[str]:
    """What --check prints of the page that was written before, if it finds differences; else []."""
    capsys.readouterr()
    status = make_report.main(['--check'])
    said = capsys.readouterr().out.splitlines()
    assert status == (len(said) > 1)
    return said if status else []


def test_check_lists_the_numbers_that_changed(capsys):
    write_run()
    write_scores()
    write_run(model='MyNet')
    written()
    assert checked(capsys) == []
    write_run(curves=OVERFITTING | {'test_acc': [1.0, 70.5, 3.0]})  # of the same id, so that it takes the first's place
    said = checked(capsys)
    place = said.index('Question 8 Test accuracy at the best validation accuracy: SimpleNet on fakes_dataset:')
    assert '81.12%' in said[place + 1] and said[place + 1].startswith('- ')
    assert '70.50%' in said[place + 2] and said[place + 2].startswith('+ ')
    assert not any('MyNet' in line or 'Question 10' in line for line in said)


def test_check_sees_every_number_that_people_see(capsys):
    """Defect: it compared hidden tags, so that a changed text, the audit, seeds, versions and trials passed."""
    write_run()
    path = Path('out/fakes_dataset_SimpleNet_Adam.json')
    trial = {'optimizer': 'Adam', 'model': 'm', 'dense': '', 'dropout': '', 'augmentation': 'True', 'rate': '0.1'}
    trial |= {'loss': '0.5', 'accuracy': '75', 'trial': '0'}
    audit = {'problems': ['7 files twice'], 'counts': {}, 'shortcuts': {}, 'intervals': {}, 'notes': []}
    records.write_json('out/audits/faces.json', audit)
    records.write_csv('out/faces_search.csv', trial, [trial])
    page = written()

    def check_run(**facts) -> list[str]:
        (run,) = json.loads(path.read_text())
        records.write_json(path, [run | {'run': run['run'] | facts}])
        said = checked(capsys)
        records.write_json(path, [run])
        return said

    assert any('2.1' in line for line in check_run(versions={'torch': '2.1'}))
    assert any('abc1235' in line for line in check_run(commit='abc1235'))
    assert check_run(seed=4) and check_run(arguments={'lr': 0.01})
    assert any('train_2 of' in line for line in check_run(data={'train': {'fingerprint': 'train_2 of'}}))
    records.write_json('out/audits/faces.json', audit | {'problems': ['8 files twice']})
    assert '- 7 files twice' in checked(capsys) and '+ 8 files twice' in checked(capsys)
    records.write_json('out/audits/faces.json', audit)
    records.write_csv('out/faces_search.csv', trial, [trial | {'accuracy': '76'}])
    assert any('76.00' in line for line in checked(capsys))
    records.write_csv('out/faces_search.csv', trial, [trial])
    assert checked(capsys) == []
    Path('out/report.html').write_text(page.replace('81.12', '91.12'))  # by hand
    assert any('91.12' in line for line in checked(capsys))


def test_check_takes_any_page(capsys):
    """Defect: a value that is no number ended in a traceback."""
    write_run()
    written()
    Path('out/report.html').write_text(
        '<p>1 <data value="x" data-source="y">2</data></h3></h2></div>3</h2></h2>4</p></figure><tr'
    )
    assert checked(capsys)


def test_check_without_a_report_names_the_command(call_main):
    status, _, errors = call_main(make_report, '--check')
    assert status == 1 and 'python make_report.py' in errors


# --- the page --------------------------------------------------------------------------------------------------------


def picture(name: str, size=(1600, 1200)) -> None:
    Path('figures').mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size).save(f'figures/{name}.png')


def test_links_inside_the_page_work_and_nothing_is_fetched():
    write_run()
    write_scores()
    picture('datasets_samples')
    page = written()
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(names)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page) and '@import' not in page and 'url(' not in page
    images = re.findall('<img [^>]+>', page)
    assert images and all('alt="' in image and 'alt=""' not in image for image in images)


def test_text_from_records_is_escaped():
    write_run(dataset='<script>alert(1)<', model='a&b')
    page = page_now()
    assert '<script>' not in page and '&lt;script&gt;' in page


def test_two_hundred_runs_fit_into_fifteen_megabytes():
    for number in range(200):
        write_run('faces', f'Net{number}')
        write_scores('faces', f'Net{number}', separation=number / 50)
        picture(f'faces_Net{number}_reliability', size=(400, 300))
    page = written()
    assert len(page) < 15e6
    assert all(f'faces_Net{number}_Adam.json' in page for number in range(200))
    assert 'the best 12 of 200' in section(page, 'curves')


def test_forty_data_sets_get_figures_of_eight():
    for number in range(40):
        write_run(f'faces{number}')
        write_scores(f'faces{number}')
    words = section(page_now(), 'roc-det')
    assert words.count('ROC on') == 8 and '8 test parts with the most detectors; 32 more are left out' in words


def test_no_torch_is_imported():
    code = (
        f'import sys; sys.path.insert(0, {str(PROJECT)!r}); import make_report; make_report.main(["--no-pdf"]); '
        'print("torch" in sys.modules)'
    )
    write_run()
    write_scores()
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == 'False'


def test_without_a_browser_it_says_so(monkeypatch, capsys):
    monkeypatch.setenv('PATH', '')
    make_report.main([])
    assert 'No PDF: there is no Chromium' in capsys.readouterr().out and not Path('out/report.pdf').exists()


def test_command_of_a_run_can_be_pasted():
    write_run(arguments={
        'dataset': 'my faces', 'model': 'CustomCNN', 'optimizer': 'Adam', 'lr': 0.001, 'momentum': 0.9, 'epochs': 5,
        'batch_size': 32, 'option': [['dense', 256]], 'no_augmentation': True, 'seed': 7, 'backbone_weights': None,
    })  # fmt: skip
    (run,) = Evidence('out', 'checkpoints').runs
    assert reproduction.command(run) == (
        "python train_main.py -d 'my faces' -m CustomCNN --lr 0.001 -b 32 -e 5 -o Adam --option dense=256 "
        '--no-augmentation --seed 7'
    )


def test_printer_and_report_have_one_source():
    """What answer_questions.py prints stands in the report."""
    import answer_questions

    write_run()
    write_scores()
    page, evidence = page_now(), Evidence('out', 'checkpoints')
    assert answer_questions.assignment is assignment
    for question in assignment.QUESTIONS:
        if question.answer:
            answer = as_text(assignment.measured(question, evidence)).replace('`', '')
            shown = section(page, f'q{question.number}').replace('`', '')
            assert ' '.join(answer.split()).lower() in shown.lower()


def test_overfitting_needs_a_rise_that_is_no_noise():
    assert findings.overfits_from({'train_loss': [3, 2, 1], 'val_loss': [1.0, 0.5, 0.54]}) is None
    assert findings.overfits_from({'train_loss': [3, 2, 1], 'val_loss': [1.0, 0.5, 0.56]}) == 3
    assert findings.overfits_from({'train_loss': [1, 2, 3], 'val_loss': [1.0, 0.5, 0.9]}) is None


def test_the_example_shows_the_numbers_of_its_records(workdir, capsys):
    """docs/example_report.html, made with `make example`."""
    with zipfile.ZipFile(PROJECT / 'docs' / 'example_records.zip') as archive:
        archive.extractall('records')
    example = PROJECT / 'docs' / 'example_report.html'
    assert make_report.main(['--records', 'records', '--output', str(example), '--check']) == 0, capsys.readouterr().out
    text = example.read_text()
    assert len(numbers_in(' '.join(sum(lines_of(text).values(), [])))) > 200 and example.stat().st_size < 1.5e6
    assert not re.search(r'/(?:home|root|work|tmp|Users)/', re.sub('src="data:[^"]+"', '', text))


@pytest.mark.parametrize('scheme', ['light', 'dark', 'print'])
def test_colours_have_the_contrast_that_wcag_asks_for(scheme):
    """4.5 to 1 for text on what lies behind it."""
    palettes = re.findall(r':root \{(.*?)\}', report.CSS, re.S)
    colours = dict(re.findall(r'--([\w-]+): (#\w+);', palettes[['light', 'dark', 'print'].index(scheme)]))

    def brightness(name: str) -> float:
        digits = colours[name][1:] if len(colours[name]) == 7 else ''.join(2 * digit for digit in colours[name][1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.05 + np.dot(linear, [0.2126, 0.7152, 0.0722])

    text = [(ink, paper) for ink in ('ink', 'faint', 'link') for paper in ('paper', 'panel')]
    for ink, paper in [*text, ('caution-ink', 'caution'), ('theirs-ink', 'theirs')]:
        bright = sorted((brightness(ink), brightness(paper)))
        assert bright[1] / bright[0] >= 4.5, (ink, paper)


@pytest.mark.parametrize(
    'wrong',
    [{'seconds': ['x']}, {'run': []}, {'run': {'data': 5}}, {'run': {'data': {'test': 1}}}, {'val_loss': 3},
     {'optimizer': 'Adam'}, {'test_acc': [1.0]}, {'val_acc': [1.0, None, 2.0]}, {'dataset': None},
     {'run': {'backbone_weights': 5}}, {'run': {'data_source': ['x']}},
     {'run': {'data': {'test': {'fingerprint': []}}}}, {'val_loss': [0.5, 'x', {}, [1], 0.2]}],
)  # fmt: skip
def test_a_log_with_something_else_inside_is_named(wrong):
    write_run(model='MyNet')
    write_run()
    path = Path('out/fakes_dataset_SimpleNet_Adam.json')
    records.write_json(path, [records.last_run(path) | wrong])
    page = page_now()
    assert str(path) in section(page, 'skipped') and 'fakes_dataset_MyNet_Adam.json' in section(page, 'trainings')
    assert 'is not written' not in page


@pytest.mark.parametrize('wrong', [{'checkpoint_sha256': ['a']}, {'data_fingerprint': {'a': 1}}])
def test_scores_whose_facts_are_no_words_are_named_and_spoil_nothing_else(wrong):
    """Defect: one ended the report in a traceback, the other took several sections with it."""
    write_run()
    write_scores(model='MyNet')
    path = records.scores_path('out', NAMES[0], 'fakes_dataset')
    records.write_json(path, write_scores() | wrong)
    page = page_now()
    assert str(path) in section(page, 'skipped') and 'is not written' not in page
    assert NAMES[1] in section(page, 'calibration')


def test_half_a_character_in_a_log_can_be_written(capsys):
    """Defect: UnicodeEncodeError when the page was whole."""
    write_run()
    path = Path('out/fakes_dataset_SimpleNet_Adam.json')
    records.write_json(path, [records.last_run(path) | {'model': 'a9\ud800'}])
    assert 'a9?' in section(written(), 'trainings') and checked(capsys) == []


def test_a_table_of_trials_with_an_endless_field_is_named():
    Path('out').mkdir()
    Path('out/x_search.csv').write_text('a,b\n1,' + 200_000 * 'x')
    assert 'x_search.csv cannot be read as CSV' in section(page_now(), 'skipped')


def test_an_empty_log_is_named(call_main):
    """Defect: answer_questions.py ended in a traceback."""
    import answer_questions

    records.write_json('out/fakes_dataset_SimpleNet_Adam.json', [])
    status, printed, errors = call_main(answer_questions)
    assert status == 0 and 'no answer: out/fakes_dataset_SimpleNet_Adam.json holds no run yet' in printed, errors
    page = page_now()
    assert 'Adam.json holds no run yet' in section(page, 'skipped') and 'is not written' not in page


def test_an_answer_that_meets_anything_unexpected_names_its_record():
    """Defect: of some kinds of errors the question was named, and not the file."""
    records.write_json('out/bonus.json', {'accuracy': 1})

    def stumble(*_):
        raise AttributeError

    question = assignment.Question('1', 'asks', record='bonus.json', answer=stumble)
    assert 'out/bonus.json is not as expected' in assignment.measured(question, Evidence('out', 'checkpoints'))
    with pytest.raises(UserError, match='not trained yet'):
        assignment.best_accuracy(Evidence('out', 'checkpoints'), Path('out/absent.json'))


def test_a_mixture_with_drawn_data_is_marked_and_can_be_trained_again():
    members = {name: {'real': 5, 'fake': 5, 'fingerprint': f'of {name}'} for name in ('a', 'b')}
    data = {part: {'real': 10, 'fake': 10, 'datasets': members} for part in ('train', 'val', 'test')}
    arguments = {'datasets': ['a', 'b'], 'model': 'MyNet', 'momentum': 0.0, 'self_blend': 0, 'schedule': 'one-cycle'}
    write_run('a+b', 'MyNet', data=data, data_source=DRAWN, arguments=arguments)
    page = page_now()
    assert 'demo data' in section(page, 'trainings') and 'of b' in section(page, 'data')
    command = 'python train_main.py -d a b -m MyNet --momentum 0.0 --schedule one-cycle'
    assert command in section(page, 'runs')


def test_pairs_of_the_benchmark_stand_in_the_report():
    logits = [np.arange(60.0), np.arange(60.0)[::-1]]
    labels = np.repeat([0, 1], 30)
    (row,) = comparing.compare(['good', 'bad'], labels, logits, np.arange(60), [29.5, 29.5])
    pair = {'dataset': 'faces', 'level': 'frame', **row}
    records.write_json('out/benchmark.json', {'rows': [], 'datasets': {}, 'pairs': [pair]})
    page = page_now()
    assert 'the first is better' in section(page, 'pairs')
    (row,) = rows(page, 'pairs', 'good, bad')
    assert row[2].startswith('-1.000 (-1.000 to ')


# --- defects ---------------------------------------------------------------------------------------------------------


def scored(labels, logits):
    outputs = [[-value, value] for value in logits]
    files = [f'{"fake" if label else "real"}/{place}.jpg' for place, label in enumerate(labels)]
    path = records.scores_path('out', 'synthetic_dataset_SimpleNet_Adam', 'synthetic_dataset')
    facts = {'dataset': 'synthetic_dataset', 'model': 'SimpleNet', 'data_fingerprint': 'x', 'data_source': 'a camera'}
    records.write_scores(path, files, labels, outputs, **facts)
    return Evidence('out', 'checkpoints').scores['synthetic_dataset_SimpleNet_Adam__synthetic_dataset__test']


def test_a_detector_below_chance_is_not_called_better_than_chance():
    labels = np.repeat([0, 1], 30)
    below = scored(labels, -2.0 * labels + 1 + np.random.default_rng(0).normal(size=60))
    assert findings.kind_of(below) == 'reversed'
    assert 'Worse than chance' in section(page_now(), 'q16')
    assert 'better than chance' not in section(page_now(), 'q17')


def test_a_perfect_detector_of_unequal_classes_is_no_constant_predictor():
    labels = np.array([0] + [1] * 50)
    assert findings.kind_of(scored(labels, np.where(labels == 1, 3.0, -3.0))) != 'constant'


def test_scores_whose_order_tells_are_no_constant_predictor_without_knowledge():
    for dataset in ('fakes_dataset', 'synthetic_dataset'):
        write_run(dataset)
        write_scores(dataset, shift=50)
    page = page_now()
    assert 'constant predictor at P(fake) 0.5, whose order tells' in section(page, 'q16')
    assert 'another threshold would' in section(page, 'q17')
    assert 'does not tell real from fake' not in section(page, 'q32')


def test_a_training_loss_that_rises_does_not_fall():
    write_run(curves={'train_loss': [0.3, 0.9, 4.0], 'val_loss': [0.3, 0.5, 9.0]})
    words = section(page_now(), 'q7')
    assert 'It does not train' in words and 'falls' not in words and 'It learns' not in words


def test_nothing_is_said_of_losses_that_are_no_numbers():
    write_run(curves={'train_loss': [0.7, 0.5, 0.3], 'val_loss': [0.69, math.inf, 0.4]})
    path = Path('out/fakes_dataset_SimpleNet_Adam.json')
    path.write_text(path.read_text().replace('null', 'NaN'))
    assert 'It learns' not in section(page_now(), 'q7')


def test_intervals_that_lie_apart_the_other_way_do_not_overlap():
    write_scores('synthetic_dataset', 'SimpleNet', separation=6)
    write_scores('synthetic_dataset', 'XceptionBased', separation=0)
    words = section(page_now(), 'q28')
    assert 'XceptionBased is the worse one' in words and 'overlap' not in words and 'hardly differs' not in words


@pytest.mark.parametrize('wrong', [{'versions': 3}, {'arguments': [1]}, {'data': {'val': {'fake': None}}}])
def test_a_run_with_something_else_inside_does_not_end_the_report(wrong):
    write_run(**wrong)
    write_scores()
    page = page_now()
    assert page.count('<h2') == 4 and ('is not written' in page or section(page, 'q35'))


def test_deep_nesting_is_named_and_skipped():
    write_run()
    Path('out/deep.json').write_text('[' * 100_000)
    assert 'deep.json' in section(page_now(), 'skipped')


def test_a_detector_of_drawn_people_is_marked_where_it_scored_photographs():
    """Defect: only the origin of the test data was marked, and no detector in pairs and comparisons."""
    drawn = {'training_source': DRAWN, 'backbone_weights': 'random'}
    for model, facts in (('SimpleNet', drawn), ('MyNet', {})):
        write_scores(model=model, **facts)
    said = {NAMES[0]: records.training_facts(NAMES[0], {'data_source': DRAWN, 'backbone_weights': 'random'})}
    write_pair(said)
    page = page_now()
    assert 'class="mark caution">demo data' not in page
    marks = ('trained on demo data', 'random backbone weights')
    (row,) = rows(page, 'calibration', NAMES[0])
    assert all(mark in row[0] for mark in marks) and not any(
        mark in rows(page, 'calibration', NAMES[1])[0][0] for mark in marks
    )
    assert all(mark in section(page, 'roc-det') and mark in section(page, 'cross') for mark in marks)
    pairs = rows(page, 'pairs', NAMES[0])
    assert len(pairs) == 2 and all(row[0].startswith(f'{NAMES[0]} trained on demo data random') for row in pairs)
    assert '1 of 2 scored test parts are no drawings' in section(page, 'reading')


def test_trials_of_a_search_are_marked():
    trial = {'optimizer': 'Adam', 'model': 'XceptionTransfer', 'dense': '', 'dropout': '', 'augmentation': 'True'}
    trial |= {'rate': '0.1', 'loss': '0.5', 'accuracy': '75', 'trial': '0'}
    records.write_csv('out/faces_search.csv', trial, [trial])
    assert 'origin of the data unknown' in section(page_now(), 'ablation')
    trial |= {'backbone_weights': 'random', 'data_source': DRAWN}
    records.write_csv('out/faces_search.csv', trial, [trial])
    assert 'XceptionTransfer demo data random backbone weights' in section(page_now(), 'ablation')


def test_the_sample_figure_is_marked_by_both_data_sets():
    picture('datasets_samples')
    write_scores('fakes_dataset')
    write_scores('synthetic_dataset', data_source=DRAWN)
    assert 'demo data' in section(page_now(), 'q2')
    write_scores('synthetic_dataset')
    assert 'demo data' not in section(page_now(), 'q2') and 'origin' not in section(page_now(), 'q2')


def test_kinds_never_seen_stand_in_the_report():
    write_pair({})
    benchmark = records.read_json('out/benchmark.json')
    values = {'auc': 0.91, 'auc_low': 0.9, 'auc_high': 0.92, 'detector': NAMES[0], 'backbone_weights': None}
    kinds = [
        values | {'dataset': 'kinds trained on', 'kind': 'swap', 'datasets': ['fakes_dataset']},
        values | {'dataset': 'kinds never seen', 'kind': 'whole', 'datasets': ['other'], 'auc': 0.61},
        values | {'dataset': 'gap', 'kind': None, 'datasets': [], 'auc': 0.3, 'auc_low': -0.1},
    ]
    records.write_json('out/benchmark.json', benchmark | {'kinds': kinds})
    (row,) = [row for row in rows(page_now(), 'cross', NAMES[0]) if 'swap' in row[1]]
    assert row[1:] == ['0.910 (0.900 to 0.920) [swap]', '0.610 (0.900 to 0.920) [whole]', '+0.300 (-0.100 to 0.920)']


def test_a_last_run_that_is_no_good_record_is_not_called_untrained():
    """Defect: "not trained yet" in one answer, the reason in the next, an older run's numbers in a third."""
    path = Path('out/fakes_dataset_SimpleNet_Adam.json')
    write_run()
    good = records.last_run(path)
    records.write_json(path, [good, good | {'test_acc': 'none'}])
    page = page_now()
    for question in ('q5', 'q6', 'q7', 'theirs'):
        assert 'ts newest training is no good record' in section(page, question), question
    assert f'No answer: {path}' in section(page, 'q8') and '81.12' not in section(page, 'q8')
    assert 'ot trained yet' not in section(page, 'q5') and str(path) in section(page, 'skipped')
    records.write_json(path, [good | {'test_acc': 'none'}, good])
    page = page_now()
    assert '81.12' in section(page, 'q8') and f'{path}[0]' in section(page, 'skipped')


def test_logs_whose_names_differ_in_signs_alone_have_addresses_of_their_own():
    write_run('a-b')
    write_run('a_b')
    page = page_now()
    assert len(set(re.findall(r'<span id="(run-[^"]+)"', page))) == 2
    assert len(set(re.findall(r'href="#(run-[^"]+)"', page))) == 2


def test_of_many_pairs_the_largest_differences_are_shown():
    write_pair({})
    record = records.read_json('out/comparisons/two.json')
    (pair,) = record['pairs']
    many = [pair | {'metrics': {'auc': {'difference': number / 1000, 'interval': None}}} for number in range(250)]
    records.write_json('out/comparisons/two.json', record | {'pairs': [row | {'delong_p': None} for row in many]})
    Path('out/benchmark.json').unlink()
    page = page_now()
    found = rows(page, 'pairs', NAMES[0])
    assert (
        len(found) == 100 and found[0][2] == '+0.249' and '150 more: out/comparisons/two.json' in section(page, 'pairs')
    )


def test_a_run_that_cannot_be_shown_is_left_out_alone():
    """Defect: a version that is no name and number took the whole part of the report with it."""
    write_run(model='MyNet')
    write_run(versions=3)
    page = page_now()
    assert 'fakes_dataset_MyNet_Adam.json' in section(page, 'runs') and 'is not written' not in page
    assert 'fakes_dataset_SimpleNet_Adam.json (in part)' in section(page, 'skipped') and section(page, 'data')
    assert '81.12%' in section(page, 'q8') and 'href="#q8"' not in page.partition('Open: ')[2].partition('</p>')[0]
