"""The benchmarks that train and judge by the project's commands, on a few small pictures. What they measure there means
nothing; that they run, keep what was done, and count right is tested."""

import contextlib
import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import make_dataset
from PIL import Image
from test_detectors import save_network

from benchmarks import bonus, card, commands, export, field, recipe, slides, unseen
from forensics import records
from forensics.data import datasets
from forensics.errors import UserError
from forensics.running import starting

COUNTS = {'train': 4, 'val': 2, 'test': 3}


@pytest.fixture
def steps(tmp_path, monkeypatch) -> list[str]:
    """The steps that a benchmark took: each is a command's `main` in this process, which saves importing torch."""
    taken = []

    def run(command: list[str], cwd: Path, env: dict[str, str], stdout, stderr) -> SimpleNamespace:
        script = Path(command[1]).stem
        taken.append(script)
        with monkeypatch.context() as there, contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            there.chdir(cwd)
            there.setattr(os, 'environ', {**os.environ, **env})
            status = starting.run(lambda: importlib.import_module(script).main(command[2:]))
        return SimpleNamespace(returncode=status)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(datasets.ROOT_VARIABLE, str(tmp_path / 'data'))
    monkeypatch.setenv('FACES_DEVICE', 'cpu')
    monkeypatch.setattr(commands, 'subprocess', SimpleNamespace(run=run))
    return taken


def cells_of(printed: str) -> list[list[str]]:
    """The rows of the tables that were printed."""
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in printed.splitlines() if line[:1] == '|']


# --- the steps ------------------------------------------------------------


def test_a_step_that_fails_names_its_log(tmp_path):
    with pytest.raises(UserError, match='make_report.py ended with status 2: see .*log.txt'):
        commands.run('make_report.py', ['--no-such-option'], tmp_path / 'step', tmp_path)
    assert '--no-such-option' in (tmp_path / 'step' / 'log.txt').read_text()


def test_pictures_of_another_size_are_scaled_once(steps, tmp_path):
    make_dataset(tmp_path / 'data' / 'small', counts={'train': 2, 'val': 2, 'test': 2}, size=224)
    root = commands.scaled('small', tmp_path / 'runs')
    assert root == commands.scaled('small', tmp_path / 'runs') != tmp_path / 'data'
    assert steps == ['preprocessing']
    with Image.open(next((root / 'small' / 'train' / 'real').iterdir())) as image:
        assert image.size == (256, 256)


# --- bonus.py ------------------------------------------------------------


def test_bonus_trains_whole_and_without_and_goes_on(steps, tmp_path):
    for seed, name in enumerate(('one', 'two')):
        make_dataset(tmp_path / 'data' / name, seed, COUNTS)
    save_network('teacher.pt', 'CustomCNN', {'model': 'CustomCNN'})
    line = ['-d', 'one+two', '--teacher', 'teacher.pt', '-e', '1', '--seeds', '0']
    bonus.main([*line, '--only', 'BonusNet'])
    assert steps == ['train_main', 'numerical_analysis']
    bonus.main([*line, '--only', 'batch-norm', 'BonusNet'])
    assert steps == ['train_main', 'numerical_analysis'] * 2  # the new row alone was left to do
    head, _, whole, without = cells_of((tmp_path / '.cache' / 'bonus' / 'bonus.md').read_text())
    assert len(head) == len(whole) == 6 and whole[:3] == ['one+two', 'BonusNet', '9,598']
    assert without[1:3] == ['without batch-norm', '9,414']
    (folder,) = (tmp_path / '.cache' / 'bonus').glob('one+two_BonusNet_1_0_*')
    name = 'one+two_BonusNet_AdamW'
    auc = records.read_json(folder / records.metrics_path('out', name, 'one'))['metrics']['auc']['value']
    assert whole[3] == f'{auc:.3f} ({auc:.3f} to {auc:.3f})'
    run = records.last_run(folder / records.log_path('out', name))['run']
    assert run['arguments']['crop'] == 256 and run['teacher']['detector'] == 'teacher'


def test_bonus_takes_one_ingredient_away_at_a_time():
    whole = bonus.words_of('BonusNet', 'teacher.pt')
    assert '--option' not in whole and {'--crop', '--schedule', '--average', '--teacher'} < set(whole)
    for row, words in bonus.RECIPE.items():
        assert set(whole) - set(bonus.words_of(row, 'teacher.pt')) == set(words)
    assert bonus.words_of('teacher', 'teacher.pt') == bonus.words_of('BonusNet', None)
    for row in bonus.NETWORK:
        assert bonus.words_of(row, 'teacher.pt')[: len(whole)] == whole
        assert '--option' in bonus.words_of(row, 'teacher.pt')
    assert '--crop' not in bonus.words_of('MyNet', 'teacher.pt')


def test_bonus_counts_in_points():
    results = [{'auc': auc, 'parameters': 9598, 'minutes': 2} for auc in (0.8, 0.7)]
    assert cells_of(bonus.line('dfdc', 'cosines', results, 0.85))[0][1:] == [
        'without cosines', '9,598', '0.750 (0.700 to 0.800)', '10.0', '2.0 min',
    ]  # fmt: skip
    assert cells_of(bonus.line('dfdc', 'MyNet', results, None))[0][4] == '-'


def test_bonus_without_a_teacher_leaves_that_row_out(capsys):
    assert 'teacher' not in bonus.parse_args([]).only and 'teacher' in bonus.parse_args(['--teacher', 'x.pt']).only
    with pytest.raises(SystemExit):
        bonus.parse_args(['--only', 'teacher'])
    with pytest.raises(UserError, match='No teacher x.pt'):
        bonus.main(['--teacher', 'x.pt'])


# --- recipe.py and unseen.py ------------------------------------------------------------


@pytest.fixture
def small_network(monkeypatch) -> None:
    """CustomCNN instead of PhotoNet."""
    for benchmark in (recipe, unseen):
        monkeypatch.setattr(benchmark, 'MODEL', 'CustomCNN')


def test_recipe_changes_one_thing_at_a_time_and_judges_what_was_passed_on(steps, small_network, tmp_path):
    make_dataset(tmp_path / 'data' / 'own', counts=COUNTS)
    line = ['-d', 'own', '-e', '1', '--only']
    recipe.main([*line, 'clean'])
    recipe.main([*line, 'whole', 'clean'])
    assert steps == ['train_main', 'numerical_analysis', 'benchmark'] * 2 + ['benchmark']  # which computes nothing anew
    head, _, whole, clean = cells_of((tmp_path / '.cache' / 'recipe' / 'recipe.md').read_text())
    assert len(head) == len(whole) and [whole[:2], clean[:2]] == [['own', 'whole'], ['own', 'clean']]
    folder = tmp_path / '.cache' / 'recipe' / 'own_clean_1_0'
    run = records.last_run(folder / 'out' / 'own_CustomCNN_AdamW.json')['run']
    assert (run['arguments']['crop'], run['arguments']['augment']) == (224, None)
    record = records.read_scores(folder / records.scores_path('out', 'own_CustomCNN_AdamW', 'own', 'test-jpeg:50'))
    scores = [logit for (logit,) in record['scores']]
    wins = [
        (fake > real) + (fake == real) / 2
        for fake, fakes in zip(scores, record['labels'], strict=True) if fakes
        for real, other in zip(scores, record['labels'], strict=True) if not other
    ]  # fmt: skip
    assert clean[3] == f'{sum(wins) / len(wins):.3f}'


def test_recipe_knows_what_it_changes():
    whole = recipe.words_of('whole')
    for change, words in recipe.CHANGES.items():
        others = recipe.words_of(change)
        assert bool(words) == (others != whole)
        assert all(option in ' '.join(map(str, others)) for option in ('AdamW', '-b 32'))
    assert '--crop' not in recipe.words_of('no-crops') and '160' in map(str, recipe.words_of('crops-of-160'))


def test_unseen_never_trains_on_what_it_judges(steps, small_network, tmp_path):
    for seed, name in enumerate(('one', 'more', 'two', 'three')):
        make_dataset(tmp_path / 'data' / name, seed, COUNTS)
    line = ['-d', 'one+more', 'two', '--also', 'three', '-e', '1', '--self-blend', '0']
    unseen.main([*line, '--only', 'two'])
    unseen.main(line)
    assert steps == ['train_main', 'numerical_analysis'] * 2
    _, _, first, second, mean = cells_of((tmp_path / '.cache' / 'unseen' / 'unseen.md').read_text())
    assert [first[:2], second[:2]] == [['one+more', 'two, three'], ['two', 'one+more, three']]
    aucs = []
    for judge, trained in (('one', ['two', 'three']), ('two', ['one', 'more', 'three'])):
        (folder,) = (tmp_path / '.cache' / 'unseen').glob(f'without_{judge}_*')
        name = f'{"+".join(trained)}_CustomCNN_AdamW'
        assert records.last_run(folder / 'out' / f'{name}.json')['run']['datasets'] == trained
        aucs.append(records.read_json(folder / records.metrics_path('out', name, judge))['metrics']['auc']['value'])
    assert [first[2][:5], second[2][:5], mean[2]] == [f'{auc:.3f}' for auc in (*aucs, sum(aucs) / 2)]


# --- the others ------------------------------------------------------------


def test_field_prints_a_row_for_each_contender(steps, tmp_path, monkeypatch):
    make_dataset(tmp_path / 'data' / 'own', counts=COUNTS)
    monkeypatch.setattr(field, 'TURNS', 1)
    line = ['-d', 'own', '--contenders', 'MyNet', 'spectrum + SVM', '-e', '1']
    field.main(line)
    assert steps == ['train_main', 'numerical_analysis', 'train_svm', 'numerical_analysis']
    field.main(line)
    assert len(steps) == 4
    head, _, network, svm = cells_of((tmp_path / '.cache' / 'field' / 'field.md').read_text())
    assert len(head) == len(network) == len(svm) == 10
    assert network[:2] == ['own', 'MyNet'] and network[6] == '34,850' and svm[6:] == ['-'] * 4


def test_slides_trains_by_person_and_at_random(steps, tmp_path, capsys, monkeypatch):
    """Defect: of pictures whose names were the same in two parts, all but one were lost when they were divided anew."""
    home = make_dataset(tmp_path / 'data' / 'own', counts=COUNTS)
    files = sorted(str(path.relative_to(home)) for path in home.glob('*/*/*'))
    rows = [
        {'file': file, 'part': file.split('/')[0], 'label': file.split('/')[1], 'group': f'person {number}',
         'width': 50 + number, 'height': 50}
        for number, file in enumerate(files)
    ]  # fmt: skip
    records.write_csv(home / 'manifest.csv', list(rows[0]), rows)
    monkeypatch.setattr(slides, 'APPROACHES', {'CustomCNN': ('CustomCNN', 1, slides.ADAM)})
    monkeypatch.setattr(slides, 'RATES', (0.01,))
    monkeypatch.setattr(slides, 'OPTIMIZERS', ('SGD',))
    slides.main(['-d', 'own', '--only', 'CustomCNN'])
    assert steps == ['train_main', 'numerical_analysis'] * 3
    rows = cells_of(capsys.readouterr().out)
    assert [row[:3] for row in rows if row[0] == 'CustomCNN' and len(row) == 6] == [
        ['CustomCNN', 'by person', '1 of 1'], ['CustomCNN', 'at random', '1 of 1'],
    ]  # fmt: skip
    assert rows[-1][:2] == ['SGD', '0.01']
    drawn = list((tmp_path / '.cache' / 'slides' / 'at_random' / 'own').glob('*/*/*'))
    assert sorted(path.resolve() for path in drawn) == sorted(home.glob('*/*/*'))


def test_card_measures_an_exported_detector(steps, exported_bonus, tiny_root, capsys, monkeypatch):
    monkeypatch.setattr(card, 'PERTURBED', ('jpeg:50',))
    line = [str(exported_bonus), '-d', 'fakes_dataset', 'synthetic_dataset', '--data-root', str(tiny_root)]
    card.main(line)
    assert steps == ['benchmark']
    printed = capsys.readouterr().out
    rows = {row[0]: row for row in cells_of(printed)}
    assert 'threshold 0.300, unsure from 0.250 to 0.350' in printed
    assert len(rows['fakes_dataset']) == len(rows['all together']) == 6
    assert rows['nothing'][-1] == '0.0' and len(rows['jpeg-50']) == 5
    assert 'brightness' in rows and 'width of the face before scaling' not in rows


def test_export_compares_pytorch_and_onnxruntime(exported_bonus, workdir, capsys, monkeypatch):
    monkeypatch.setattr(export.export_onnx, 'PRECISIONS', ('float32',))  # the others take ten seconds more
    checkpoint = exported_bonus.with_suffix('.pt')
    export.main([f'{checkpoint}:BonusNet', '--turns', '1', '--at-most', '4', '--json', 'export.json'])
    rows = records.read_json('export.json')
    assert [row['runs_in'] for row in rows] == ['PyTorch', 'onnxruntime, float32']
    assert rows[0]['auc'] == rows[1]['auc'] is not None and rows[0]['network'] == 'BonusNet'
    assert len(cells_of(capsys.readouterr().out)) == 2 + len(rows)
