"""The table of answers, from records whose answers are known; and the parameter counts."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import answer_questions
import nof_params
from forensics import records


def write_scores(dataset: str, model: str, second, labels, **facts) -> None:
    name = records.run_name(dataset, model, 'Adam')
    scores = [[-value, value] for value in second]
    files = [f'{number}.jpg' for number in range(len(labels))]
    records.write_scores(records.scores_path('out', name, dataset), files, labels, scores, **facts)


def write_log(dataset: str, model: str, **changes) -> None:
    run = {'model': model, 'dataset': dataset, 'val_acc': [50.0, 87.5, 87.5], 'test_acc': [99.0, 81.1, 98.0]}
    records.append_run(records.log_path('out', records.run_name(dataset, model, 'Adam')), run | changes)


def answers(capsys) -> dict[str, str]:
    """Question's number -> its answer."""
    answer_questions.main([])
    lines = capsys.readouterr().out.splitlines()
    starts = [i for i, line in enumerate(lines) if line[:5].strip() and line[5:7] == '  ' and i > 0]
    return {lines[i].split()[0]: lines[i + 1].strip() for i in starts if i + 1 < len(lines)}


def test_every_missing_record_names_its_command(workdir, capsys):
    found = answers(capsys)
    assert list(found) == ['8', '9', '10', '14', '15', '16', '21', '22', '24', '27', '28', 'bonus']
    assert all(answer.startswith('not known yet; run `python ') for answer in found.values())
    assert '-m XceptionBased --lr 0.001 -b 32 -e 2 -o Adam`' in found['27']
    assert 'numerical_analysis.py -m SimpleNet -cpp checkpoints/synthetic_dataset_SimpleNet_Adam.pt' in found['16']


def test_commands_are_the_assignments_lines(workdir, capsys):
    """What the table tells to run stands in run_me.sh."""
    answer_questions.main([])
    script = (Path(answer_questions.__file__).parent / 'run_me.sh').read_text()
    commands = {line.split('`')[1] for line in capsys.readouterr().out.splitlines() if '`' in line}
    assert len(commands) == 8
    assert all(command in script.splitlines() for command in commands)


def test_accuracy_is_that_of_the_best_validation_epoch(workdir, capsys):
    """Defect: an epoch chosen on the test part."""
    write_log('fakes_dataset', 'SimpleNet', run={'id': 'a', 'data': {'test': {'real': 2, 'fake': 1}}})
    assert answers(capsys)['8'] == '81.10% (epoch 2, validation 87.50%); a constant predictor: 66.67%'


def test_random_backbone_is_said(workdir, capsys):
    write_log('synthetic_dataset', 'XceptionBased', run={'id': 'a', 'backbone_weights': 'random'})
    write_scores('synthetic_dataset', 'XceptionBased', [0, 1, 2, 3], [0, 0, 1, 1], backbone_weights='random')
    found = answers(capsys)
    assert 'RANDOM' in found['27'] and 'RANDOM' in found['28']
    assert 'second 1.000, difference 1.000 (first + second = 1.000)' in found['28']


def test_proportion_of_the_test_part(workdir, capsys):
    write_scores('fakes_dataset', 'SimpleNet', np.arange(2100), np.repeat([0, 1], [1400, 700]))
    found = answers(capsys)
    assert found['9'] == '700 to 1400 = 0.50'
    assert found['10'].startswith('first 0.000, second 1.000')


@pytest.mark.parametrize(
    ('shift', 'separation', 'kind'),
    [(-10, 0, 'a constant predictor: 100.0% of the 400 test images are called real'),
     (0, 0, 'no better than chance'), (0, 3, 'no constant predictor')],
)  # fmt: skip
def test_kind_of_classifier(workdir, capsys, shift, separation, kind):
    labels = np.repeat([0, 1], 200)
    scores = np.random.default_rng(0).normal(size=400) + separation * (labels - 0.5) + shift
    write_scores('synthetic_dataset', 'SimpleNet', scores, labels)
    assert answers(capsys)['16'].startswith(kind)


def test_one_class_only(workdir, capsys):
    write_scores('fakes_dataset', 'SimpleNet', [1, 2], [1, 1])
    write_scores('synthetic_dataset', 'SimpleNet', [1, 2], [1, 1])
    found = answers(capsys)
    assert found['9'] == '2 to 0' and 'undefined' in found['10']
    assert found['16'] == 'a constant predictor: 100.0% of the 2 test images are called fake'


def test_broken_records_are_named(workdir, capsys):
    Path('out').mkdir()
    Path('out/bonus.json').write_text('{"accuracy": 1}')
    Path('out/nof_params.json').write_text('{"fc_input":')
    Path('out/fakes_dataset_SimpleNet_Adam.json').write_text('[{"model": "SimpleNet", "dataset": "fakes_dataset"}]')
    found = answers(capsys)
    assert 'bonus_main.py' in found['bonus'] and 'out/bonus.json' in found['bonus']
    assert 'cannot be read as JSON' in found['22']
    assert 'no epoch with a validation accuracy' in found['8']


def test_bonus_pair(workdir, capsys):
    pair = {'accuracy': 91.25, 'parameters': 34850, 'auc': 0.958, 'score': 2.608}
    records.write_json('out/bonus.json', pair)
    assert answers(capsys)['bonus'] == "accuracy 91.25%, 34,850 parameters; AuC 0.9580, report 2's score 2.61"
    records.write_json('out/bonus.json', pair | {'auc': None, 'score': None})
    assert answers(capsys)['bonus'] == 'accuracy 91.25%, 34,850 parameters'


def test_parameter_counts(workdir, capsys):
    """Known answers of questions 21, 22 and 24, and report 2's network."""
    nof_params.main([])
    counts = json.loads((workdir / 'out' / 'nof_params.json').read_text())
    assert (counts['fc_input'], counts['Xception'], counts['added_by_the_head']) == (2048, 22_855_952, 272_834)
    assert counts['networks']['XceptionBased'] == 23_128_786 and counts['networks']['MyNet'] == 34_850
    capsys.readouterr()
    found = answers(capsys)
    assert (found['21'], found['22'], found['24']) == ('2,048', '22,855,952', '272,834')


def test_as_a_process(run_script, workdir):
    done = run_script('answer_questions.py', env={**os.environ, 'PYTHONWARNINGS': 'error'})
    assert 'Figures (0) are in figures/' in done.stdout
