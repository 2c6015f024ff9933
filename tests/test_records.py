import json
import os

import numpy as np
import pytest
import torch

from forensics import records
from forensics.errors import UserError


def test_json_is_strict(tmp_path):
    records.write_json(tmp_path / 'new folder' / 'x.json', {'a': float('inf'), 'b': np.float32(0.5), 'c': np.arange(2)})
    assert json.loads((tmp_path / 'new folder' / 'x.json').read_text()) == {'a': None, 'b': 0.5, 'c': [0, 1]}


def test_a_table_has_its_columns_alone_and_unix_line_ends(tmp_path):
    records.write_csv(tmp_path / 'x.csv', ('a', 'b'), [{'a': 'Zoë', 'b': 1, 'c': 2}, {'b': None}])
    assert (tmp_path / 'x.csv').read_bytes() == 'a,b\nZoë,1\n,\n'.encode()


def test_nothing_is_half_written(tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('whole')
    with pytest.raises(RuntimeError), records.atomic_path(path) as temporary:
        temporary.write_text('ha')
        raise RuntimeError
    assert path.read_text() == 'whole'
    assert os.listdir(tmp_path) == ['x.json']


def test_a_folder_that_cannot_be_written_is_a_readable_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='Cannot write'):
        records.write_json(tmp_path / 'file' / 'x.json', {})


def test_figures_keep_their_suffix_while_they_are_written(tmp_path):
    with records.atomic_path(tmp_path / 'x.png') as temporary:
        assert temporary.suffix == '.png'
        temporary.write_bytes(b'')


def test_a_run_that_is_logged_again_takes_its_own_place(tmp_path):
    for number, run_id in ((1, 'a'), (2, 'b'), (3, 'a')):
        records.append_run(tmp_path / 'log.json', {'number': number, 'run': {'id': run_id}})
    assert [run['number'] for run in records.read_runs(tmp_path / 'log.json')] == [3, 2]


def test_logs_of_others_are_appended_to(tmp_path):
    (tmp_path / 'log.json').write_text('[{"model": "SimpleNet", "val_acc": [1, 2]}]')
    records.append_run(tmp_path / 'log.json', {'model': 'new', 'run': {'id': 'a'}})
    assert records.last_run(tmp_path / 'log.json')['model'] == 'new'
    assert len(records.read_runs(tmp_path / 'log.json')) == 2


@pytest.mark.parametrize('text', ['', '[{]', '{"a": 1}', '[1]', '[]'])
def test_a_damaged_log_is_named_and_left_alone(tmp_path, text):
    path = tmp_path / 'log.json'
    path.write_text(text)
    with pytest.raises(UserError, match='log.json'):
        records.last_run(path)
    assert path.read_text() == text


def test_the_best_epoch_is_the_first_of_the_highest():
    assert records.best_epoch({'val_acc': [50, 70, 70, 60]}) == 1


@pytest.mark.parametrize('name', ['x.pt', 'x.safetensors'])
def test_checkpoints_come_back(tmp_path, name):
    facts = {'epoch': 3, 'val_acc': 81.5, 'run': {'model': 'SimpleNet', 'calibration': {'unsure': [0.2, 0.8]}}}
    turned = torch.arange(6.0).reshape(2, 3).T  # safetensors takes contiguous tensors only
    records.save_checkpoint(tmp_path / name, {'model': {'w': turned, 'n': torch.tensor(7)}, **facts})
    checkpoint = records.load_checkpoint(tmp_path / name)
    model = checkpoint.pop('model')
    assert checkpoint == facts
    assert torch.equal(model['w'], turned) and torch.equal(model['n'], torch.tensor(7))


@pytest.mark.parametrize('name', ['x.pt', 'x.safetensors'])
def test_a_checkpoint_cut_anywhere_is_a_readable_error(tmp_path, name):
    path = tmp_path / name
    records.save_checkpoint(path, {'model': {'w': torch.ones(2000)}})
    whole = path.read_bytes()
    for cut in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=name):
            records.load_checkpoint(path)


def test_missing_files_name_the_command_that_makes_them(tmp_path):
    with pytest.raises(UserError, match='train_main.py'):
        records.load_checkpoint(tmp_path / 'x.pt')
    with pytest.raises(UserError, match='train_main.py'):
        records.last_run(tmp_path / 'x.json')
    with pytest.raises(UserError, match='numerical_analysis.py'):
        records.read_scores(tmp_path / 'x.json')


def test_names_of_files():
    assert records.run_name('d', 'timm:a/b', 'Adam') == 'd_timm-a-b_Adam'
    assert str(records.figure_path('figures', 'd', 'm', 'roc_curve')) == 'figures/d_m_roc_curve.png'
    assert str(records.scores_path('out', 'm', 'd')) == 'out/scores/m__d__test.json'


def test_a_data_set_given_as_a_path_names_no_hidden_files():
    assert records.run_name('../x/fakes_dataset', 'MyNet', 'SGD') == 'fakes_dataset_MyNet_SGD'
    assert records.scores_path('out', 'a', '../x/own').name == 'a__own__test.json'


def test_labels_or_scores_of_another_meaning_are_refused(tmp_path):
    path = tmp_path / 'scores.json'
    records.write_scores(path, ['real/a.png', 'fake/b.png'], [0, 1], [[1.5, -1.5], [0.0, 2.0]])
    record = records.read_scores(path)
    assert (record['label_names'], record['score_columns']) == (['real', 'fake'], ['real', 'fake'])
    records.write_json(path, {**record, 'score_columns': ['fake', 'real']})
    with pytest.raises(UserError, match='scores are those of .*fake.*real.*read as'):
        records.read_scores(path)
    records.write_json(path, {**record, 'label_names': ['Fake', 'Real']})
    with pytest.raises(UserError, match='label 0 is Fake and label 1 is Real'):
        records.read_scores(path)
    records.write_scores(path, ['real/a.png'], [0], [[0.5]])
    assert records.read_scores(path)['score_columns'] == ['fake']


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [({'files': ['real/a.png'] * 2}, 'none of them twice'), ({'files': [['real/a.png'], 'b']}, 'none of them twice')]
    + [({name: ['x']}, f'its {name}') for name in ('detector', 'dataset', 'data_fingerprint', 'checkpoint_sha256')],
)
def test_scores_of_images_twice_or_with_facts_that_are_no_words_are_refused(wrong, message, tmp_path):
    """Defect: an image in two lines counted twice, and facts of another type ended in tracebacks."""
    path = tmp_path / 'scores.json'
    records.write_scores(path, ['real/a.png', 'fake/b.png'], [0, 1], [[1.5], [0.0]], detector='a', dataset=None)
    records.write_json(path, records.read_scores(path) | wrong)
    with pytest.raises(UserError, match=rf'scores\.json .*{message}'):
        records.read_scores(path)
