"""Scores of other people's detectors: what is taken, what is refused, and that our own come back as they went."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from test_benchmark import make_set

import benchmark
import compare_detectors
import numerical_analysis
from forensics import records
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import scoring
from forensics.judging.elsewhere import ScoredElsewhere, logit_of
from models import MyNet

REAL, FAKE = ('a', 'b', 'c', 'both'), ('d', 'e', 'f', 'both')
RECORD = 'out/scores/theirs__faces__test.json'
GOOD = [f'real/{name}.png,0.{number + 1}' for number, name in enumerate(REAL)]
GOOD += [f'fake/{name}.png,0.{number + 4}' for number, name in enumerate(FAKE)]


@pytest.fixture
def faces(workdir, monkeypatch) -> Part:
    """Eight pictures; 'both.png' is the name of a real one and of a fake."""
    folder = workdir / 'sets' / 'faces' / 'test'
    for label, names in (('real', REAL), ('fake', FAKE)):
        (folder / label).mkdir(parents=True)
        for name in names:
            (folder / label / f'{name}.png').write_bytes(b'never opened')
    monkeypatch.setenv('FACES_DATASETS', str(workdir / 'sets'))
    return Part.find('faces', 'test')


def take(lines, part: Part, meaning: str = 'fake', head: str = 'file,score', allow_missing: bool = False, **writing):
    """The record that a file of these lines gives."""
    with open('theirs.csv', 'w', **{'encoding': 'utf-8', **writing}) as opened:
        opened.write('\n'.join([head, *lines]) + '\n')
    ScoredElsewhere('theirs.csv', meaning).take('out', [part], allow_missing)
    return records.read_scores(RECORD)


def probabilities(record: dict) -> dict[str, float]:
    return dict(zip(record['files'], scoring.fake_probability(record['scores']).round(12).tolist(), strict=True))


EXPECTED = {'real/a.png': 0.1, 'real/b.png': 0.2, 'real/both.png': 0.4, 'real/c.png': 0.3,
            'fake/both.png': 0.7, 'fake/d.png': 0.4, 'fake/e.png': 0.5, 'fake/f.png': 0.6}  # fmt: skip


@pytest.mark.parametrize(
    ('change', 'writing'),
    [
        (lambda line: line, {}),
        (lambda line: line, {'encoding': 'utf-8-sig'}),
        (lambda line: line, {'newline': '\r\n'}),
        (lambda line: line.replace(',', ';'), {'head': 'file;score'}),
        (lambda line: line.replace(',', ';').replace('0.', '0,'), {'head': ' File ;Score'}),
        (lambda line: line.replace(',', '\t'), {'head': 'file\tscore'}),
        (lambda line: 'C:\\sets\\faces\\test\\' + line.replace('/', '\\'), {}),
        (lambda line: './/faces/test/' + line, {}),
        (lambda line: '../test/' + line, {}),
        (lambda line: f'x,"{line.partition(",")[0]}",{line.partition(",")[2]}', {'head': 'model,file,score'}),
        (lambda line: f'{line},{line[:4]}', {'head': 'file,score,label'}),
        (lambda line: f'{line},{int(line[0] == "f")}', {'head': 'file,score,LABEL'}),
        (lambda line: line if 'both' in line else line[5:], {}),
    ],
    ids=['plain', 'BOM', 'CRLF', 'semicolons', 'decimal commas', 'tabs', 'Windows', 'whole paths', 'up', 'quotes',
         'label names', 'label numbers', 'bare names'],
)  # fmt: skip
def test_the_same_scores_however_they_are_written(change, writing, faces):
    record = take(map(change, GOOD), faces, **writing)
    assert probabilities(record) == EXPECTED
    assert record['files'] == faces.files and record['labels'] == [0] * 4 + [1] * 4
    assert (record['detector'], record['condition'], record['unreadable']) == ('theirs', 'test', {})


@pytest.mark.parametrize(('meaning', 'sign'), [('fake-logit', 1), ('real-logit', -1), ('fake', 1), ('real', -1)])
def test_polarity_turns_the_scores(meaning, sign, faces):
    record = take(GOOD, faces, meaning)
    given = [0.1, 0.2, 0.4, 0.3, 0.7, 0.4, 0.5, 0.6]
    expected = given if 'logit' in meaning else np.log(given) - np.log1p(-np.array(given))
    np.testing.assert_allclose(np.ravel(record['scores']), sign * np.array(expected), atol=1e-15)
    assert scoring.auc(record['labels'], scoring.fake_logits(record['scores'])) == pytest.approx(
        roc_auc_score(record['labels'], sign * np.array(given))
    )


@pytest.mark.parametrize(('meaning', 'other'), [('fake', 'real'), ('real-logit', 'fake-logit')])
def test_scores_that_mean_the_opposite_get_a_hint(meaning, other, faces, capsys):
    """Defect: P(real) taken for P(fake) gave an AuC near 0 without a word."""
    lines = [f'{file},0.{2 if (file[0] == "f") == (meaning[0] == "f") else 8}' for file in faces.files]
    take(lines, faces, meaning)
    assert f'Then say --scores-mean {other}.' in capsys.readouterr().out
    take(lines, faces, other)
    assert 'Then say' not in capsys.readouterr().out


def test_certain_probabilities_stay_finite_and_in_order(faces):
    values = [0, 5e-324, 1e-300, 0.5, 1 - 2**-52, 1]
    logits = [logit_of(value) for value in values]
    assert np.isfinite(logits).all() and (np.diff(logits)[1:] > 0).all() and logits[0] == logits[1]
    record = take([line[:-3] + ('0' if line[0] == 'r' else '1') for line in GOOD], faces)
    assert scoring.auc(record['labels'], scoring.fake_logits(record['scores'])) == 1


@pytest.mark.parametrize(
    ('lines', 'writing', 'message'),
    [
        ([*GOOD, 'fake/d.png,0.1'], {}, 'two scores of fake/d.png, in the lines 6 and 10'),
        ([*GOOD, 'd.png,0.4'], {}, 'two scores of fake/d.png'),
        (['both.png,0.5', *GOOD], {}, 'line 2: both.png may be real/both.png or fake/both.png of faces'),
        (['real/a.png,nan', *GOOD[1:]], {}, 'line 2: the score "nan" is no finite number'),
        (['real/a.png,-inf', *GOOD[1:]], {'meaning': 'fake-logit'}, 'the score "-inf" is no finite number'),
        (['real/a.png,', *GOOD[1:]], {}, 'the score "" is no finite number'),
        (['real/a.png,many', *GOOD[1:]], {}, 'the score "many" is no finite number'),
        (['real/a.png,0,93', *GOOD[1:]], {}, 'line 2 has not as many columns as the first line'),
        (['real/a.png', *GOOD[1:]], {}, 'line 2 has not as many columns as the first line'),
        (['real/a.png,1.5', *GOOD[1:]], {}, 'score 1.5 is no probability. If a score may be any number'),
        ([f'{line},genuine' for line in GOOD], {'head': 'file,score,label'}, 'the label "genuine" is none of 0, 1'),
        ([f'{line},{int(line[0] == "r")}' for line in GOOD], {'head': 'file,score,label'}, 'the other label for 8'),
        (GOOD, {'head': 'name,score'}, 'names the columns "file" and "score"; it is "name,score"'),
        (GOOD[1:], {'head': GOOD[0]}, 'names the columns "file" and "score"; it is "real/a.png,0.1"'),
        ([], {}, 'holds no score'),
        ([',0.5', *GOOD], {}, 'line 2 names no file'),
        (['"real/a.png,0.5', *GOOD], {}, 'cannot be read as CSV'),
        (GOOD, {'encoding': 'utf-16'}, 'Save it as CSV in UTF-8'),
        (GOOD[:-1], {}, 'has scores of 7 of the 8 images of faces test, and 99% are needed: images without a score: 1 '
                        '(fake/both.png). Mend the file, or add --allow-missing'),
        ([f'elsewhere/test/{line}' for line in GOOD], {'allow_missing': True}, '0 of the 8 images'),
        ([f'val/{line}' for line in GOOD], {}, 'lines of other parts or data sets: 8'),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused_with_a_reason(lines, writing, message, faces):
    with pytest.raises(UserError) as raised:
        take(lines, faces, **writing)
    assert message in str(raised.value) and 'theirs.csv' in str(raised.value)
    assert not (faces.home.parent.parent / RECORD).exists()


def test_missing_and_unknown_files_are_counted_and_named(faces, capsys):
    record = take([*GOOD[:-2], 'fake/x.png,0.5', 'y.png,0.5'], faces, allow_missing=True)
    printed = capsys.readouterr().out
    assert 'images without a score: 2 (fake/both.png, fake/f.png)' in printed
    assert 'lines that name no image of it: 2 (fake/x.png, y.png)' in printed
    assert record['files'] == [file for file in faces.files if file not in record['unreadable']]
    assert record['unreadable'] == dict.fromkeys(['fake/both.png', 'fake/f.png'], 'no score in theirs.csv')


def test_one_missing_image_in_a_hundred_is_told_and_taken(workdir, monkeypatch, capsys):
    make_set(workdir / 'sets', 'faces', test={'real': [0] * 50, 'fake': [1] * 50})
    monkeypatch.setenv('FACES_DATASETS', str(workdir / 'sets'))
    part = Part.find('faces', 'test')
    assert len(take([f'{file},0.5' for file in part.files[1:]], part)['files']) == 99
    assert 'images without a score: 1 (real/000.png)' in capsys.readouterr().out
    with pytest.raises(UserError, match='98 of the 100'):
        take([f'{file},0.5' for file in part.files[2:]], part)


def test_scores_of_a_checkpoint_are_not_overwritten(faces):
    take(GOOD, faces)
    take(GOOD, faces, 'real')  # said the other way: its own record may be made anew
    records.write_json(RECORD, {**records.read_scores(RECORD), 'model': 'SimpleNet'})
    with pytest.raises(UserError, match=r'rename theirs\.csv'):
        take(GOOD, faces)


def test_scores_from_elsewhere_do_not_take_the_name_of_a_training(faces):
    """Defect: where it was not scored yet, they became the answer of the report."""
    records.write_json('out/theirs.json', [])
    with pytest.raises(UserError, match=r'out/theirs\.json is a record of ours with this name: rename theirs\.csv'):
        take(GOOD, faces)


def test_the_same_file_with_another_meaning_is_another_detector(faces):
    """Defect: its digest was that of the file alone, so that both meanings were mixed in the report."""
    digests = [take(GOOD, faces, meaning)['checkpoint_sha256'] for meaning in ('fake', 'real', 'fake')]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], '--scores needs --scores-mean'),
        (['--scores-mean', 'fake', 'real', 'fake'], '--scores needs --scores-mean'),
        (['--scores-mean', 'spoof'], "invalid choice: 'spoof'"),
    ],
)
@pytest.mark.parametrize('command', [compare_detectors, benchmark])
def test_polarity_is_said_or_refused(command, arguments, message, capsys):
    data = ['-d', 'faces'] if command is compare_detectors else ['--datasets', 'faces']
    with pytest.raises(SystemExit):
        command.parse_args([*data, '--scores', 'a.csv', 'b.csv', *arguments])
    assert message in capsys.readouterr().err


def test_a_csv_file_is_no_score_file(faces, call_main):
    (faces.home.parent.parent / 'theirs.csv').write_text('file,score\n')
    status, _, errors = call_main(compare_detectors, 'theirs.csv', 'other.csv')
    assert status == 1 and 'Give theirs.csv as `--scores theirs.csv --scores-mean fake`' in errors
    line = ['--scores', 'theirs.csv', 'x/theirs.csv', '--scores-mean', 'fake']
    assert 'Say with -d of which data set' in call_main(compare_detectors, *line)[2]
    assert 'Two files of --scores have one name' in call_main(compare_detectors, *line, '-d', 'faces')[2]


# --- the commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def ours(workdir, call_main) -> str:
    """The CSV file of a network of ours, whose scores, as a blind one's may, all look like probabilities."""
    torch.manual_seed(0)
    run = {'model': 'MyNet', 'dataset': 'fakes_dataset'}
    records.save_checkpoint('net.pt', {'model': MyNet().state_dict(), 'run': run})
    status, printed, _ = call_main(numerical_analysis, '-m', 'MyNet', '-cpp', 'net.pt', '-d', 'fakes_dataset', '--csv')
    assert status == 0 and 'Wrote out/scores/net__fakes_dataset.csv' in printed
    return 'out/scores/net__fakes_dataset.csv'


def test_our_scores_come_back_as_they_went(ours, workdir, call_main):
    with open(ours, newline='') as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0]) == ['file', 'label', 'score', 'p_fake'] and len(rows) == 12 + 12
    assert (rows[0]['file'], rows[0]['label']) == ('fakes_dataset/val/real/000.jpg', 'real')
    (workdir / ours).rename('copy.csv')
    line = ['net.pt', '-d', 'fakes_dataset', '--scores', 'copy.csv', '--scores-mean', 'fake-logit']
    status, printed, errors = call_main(compare_detectors, *line)
    assert status == 0, errors
    for part in ('val', 'test'):
        own, back = (records.read_scores(f'out/scores/{name}__fakes_dataset__{part}.json') for name in ('net', 'copy'))
        assert scoring.fake_logits(back['scores']).tolist() == scoring.fake_logits(own['scores']).tolist()
        assert all(back[name] == own[name] for name in ('files', 'labels', 'data_fingerprint', 'condition'))
    comparison = records.read_json('out/comparisons/fakes_dataset_test_net_copy.json')
    assert comparison['thresholds']['net'] == comparison['thresholds']['copy'] is not None
    (pair,) = comparison['pairs']
    assert all(found['difference'] == 0 for found in pair['metrics'].values()) and pair['mcnemar']['p'] == 1


def test_anybodys_detector_joins_the_benchmark(ours, call_main, workdir):
    """On one of two data sets, and not where pictures are perturbed."""
    part = Part.find('synthetic_dataset', 'test')
    theirs = np.random.default_rng(0).random(len(part.files))
    rows = [
        {'file': f'synthetic_dataset/test/{file}', 'score': score}
        for file, score in zip(part.files, theirs, strict=True)
    ]
    records.write_csv('theirs.csv', ('file', 'score'), rows)
    status, printed, errors = call_main(
        benchmark, '--checkpoints', 'net.pt', '--scores', 'theirs.csv', '--scores-mean', 'real',
        '--datasets', 'fakes_dataset', 'synthetic_dataset', '--perturb', 'blur:1',
    )  # fmt: skip
    assert status == 0, errors
    assert 'theirs.csv has no scores of fakes_dataset' in printed
    record = json.loads((workdir / 'out' / 'benchmark.json').read_text())
    (found,) = [row for row in record['rows'] if row['detector'] == 'theirs']
    assert (found['dataset'], found['trained_on'], found['perturbation']) == ('synthetic_dataset', None, None)
    assert found['auc'] == pytest.approx(roc_auc_score(part.labels, -theirs))
    assert found['accuracy'] == pytest.approx(100 * np.mean((theirs < 0.5) == part.labels))
    (pair,) = record['pairs']
    assert (pair['dataset'], pair['first'], pair['second']) == ('synthetic_dataset', 'net', 'theirs')
    assert record['detectors']['theirs']['model'] == 'scored elsewhere'
    assert len(list((workdir / 'figures').glob('benchmark_*'))) == 2


def test_the_benchmark_takes_the_threshold_from_lines_of_the_validation_part(ours, call_main, workdir):
    (workdir / ours).rename('copy.csv')
    line = ['--checkpoints', 'net.pt', '--scores', 'copy.csv', '--scores-mean', 'fake-logit']
    status, _, errors = call_main(benchmark, *line, '--datasets', 'fakes_dataset')
    assert status == 0, errors
    rows = json.loads((workdir / 'out' / 'benchmark.json').read_text())['rows']
    own, back = (next(row for row in rows if row['detector'] == name) for name in ('net', 'copy'))
    assert back['threshold_from'] == own['threshold_from'] == 'fakes_dataset val'
    assert back['threshold'] == own['threshold'] and back['accuracy'] == own['accuracy']


def test_the_benchmark_needs_to_know_of_which_data_set_a_score_is(ours, call_main, workdir):
    part = Part.find('fakes_dataset', 'test')
    records.write_csv('theirs.csv', ('file', 'score'), [{'file': file, 'score': 0.5} for file in part.files])
    line = ['--scores', 'theirs.csv', '--scores-mean', 'fake', '--datasets', 'synthetic_dataset']
    status, _, errors = call_main(benchmark, *line, 'fakes_dataset')
    assert status == 1 and 'does not say of which data set real/000.jpg is, and there are 2' in errors
    call_main(benchmark, *line)
    assert json.loads((workdir / 'out' / 'benchmark.json').read_text())['rows'][0]['auc'] == 0.5
    status, _, errors = call_main(
        benchmark, '--scores', ours, '--scores-mean', 'fake-logit', *line[4:], 'fakes_dataset'
    )
    assert status == 1 and 'There is no detector with scores of synthetic_dataset' in errors
