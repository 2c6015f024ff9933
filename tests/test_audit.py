"""What the audit of a data set finds, and what it must not find."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import audit_dataset
from forensics.data.datasets import CLASSES, PARTS
from forensics.errors import UserError
from forensics.judging.probing import probe
from forensics.running import progress

PROJECT = Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / 'shared' / 'faces'  # real photographs, on the developers' machines only


def blotches(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((128, 128), 3))
    noisy = smooth + rng.normal(0, 8, (128, 128, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.fixture(scope='module')
def sound(tmp_path_factory) -> Path:
    """A data set with nothing wrong: pictures of one kind, two labels."""
    root = tmp_path_factory.mktemp('sets') / 'sound'
    seed = 0
    for part, count in zip(PARTS, (40, 15, 15), strict=True):
        for label in CLASSES:
            (root / part / label).mkdir(parents=True)
            for number in range(count):
                blotches(seed).save(root / part / label / f'{number:02}.jpg', quality=92)
                seed += 1
    return root


@pytest.fixture
def copy(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / 'copy'))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Drawing takes four times as long as looking; the tests of the command as a process do draw."""
    monkeypatch.setattr(audit_dataset, 'draw_pairs', lambda pairs, path: None)


def audit(path, tmp_path, capsys, *more) -> tuple[int, dict]:
    status = audit_dataset.main([str(path), '--json', '--jobs', '1', '--figure', str(tmp_path / 'pairs.png'), *more])
    return status, json.loads(capsys.readouterr().out)


def plant_duplicates(root: Path, number: int = 20) -> set[frozenset[str]]:
    """Copies in another part, every second one re-encoded and resampled, every fourth under the other label."""
    rng = np.random.default_rng(3)
    planted = set()
    for count in range(number):
        part, other = rng.choice(PARTS, 2, replace=False)
        label = str(rng.choice(CLASSES))
        target_label = label if count % 4 else CLASSES[label == 'real']
        names = sorted(path.name for path in (root / part / label).iterdir() if not path.name.startswith('copy'))
        original = root / part / label / names[count % len(names)]
        target = root / other / target_label / f'copy{count:02}.jpg'
        if count % 2:
            shutil.copy(original, target)
        else:
            side = int(rng.choice([64, 90, 100, 150]))
            resampled = Image.open(original).resize((side, side)).resize((128, 128), Image.Resampling.BILINEAR)
            resampled.save(target, quality=int(rng.choice([50, 70, 90])))
        planted.add(frozenset((str(original), str(target))))
    return planted


# --- duplicates ----------------------------------------------------------------------------------------------------


def test_a_sound_data_set_has_no_problem(sound, tmp_path, capsys):
    status, found = audit(sound, tmp_path, capsys)
    assert found['problems'] == []
    assert status == 0
    assert found['duplicates'] == found['related'] == []
    assert set(found['shortcuts']) == {'file_size', 'image_size', 'jpeg_tables', 'exif', 'mean_colour', 'blur'}
    assert found['counts'] == {
        'sound': {part: dict.fromkeys(CLASSES, count) for part, count in zip(PARTS, (40, 15, 15), strict=True)}
    }


def test_all_planted_duplicates_and_the_changed_quality_are_found(copy, tmp_path, capsys):
    planted = plant_duplicates(copy)
    for path in copy.glob('*/fake/*.jpg'):
        picture = Image.open(path)
        picture.load()
        picture.save(path, quality=80)
    status, found = audit(copy, tmp_path, capsys)
    assert status == 1
    assert {frozenset(pair) for pair in found['duplicates']} == planted
    assert found['shortcuts']['jpeg_tables'] > 0.95
    assert any('jpeg tables' in problem for problem in found['problems'])
    assert any('train stand in test too' in problem for problem in found['problems'])


def test_one_picture_under_both_labels(copy, tmp_path, capsys):
    shutil.copy(copy / 'train' / 'real' / '00.jpg', copy / 'train' / 'fake' / 'same.jpg')
    Image.open(copy / 'train' / 'real' / '01.jpg').resize((90, 90)).save(copy / 'train' / 'fake' / 'small.jpg')
    _, found = audit(copy, tmp_path, capsys)
    assert len(found['duplicates']) == 2
    assert found['pair_counts'] == {'exact across classes': 1, 'near across classes': 1}
    assert found['problems'] == [problem for problem in found['problems'] if 'under real and under fake' in problem]


def test_a_fake_beside_its_photograph_is_no_leak(copy, tmp_path, capsys):
    fake = Image.open(copy / 'train' / 'real' / '00.jpg')
    fake.load()
    fake.paste(blotches(999).crop((0, 0, 20, 16)), (60, 60))
    fake.save(copy / 'train' / 'fake' / 'made.jpg', quality=92)
    status, found = audit(copy, tmp_path, capsys)
    assert (status, found['duplicates']) == (0, [])
    assert [sorted(Path(path).name for path in pair) for pair in found['related']] == [['00.jpg', 'made.jpg']]
    fake.save(copy / 'test' / 'fake' / 'made.jpg', quality=92)  # but in another part it is
    assert audit(copy, tmp_path, capsys)[0] == 1


def test_groups_that_cross_parts(copy, tmp_path, capsys):
    with open(copy / 'manifest.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('file', 'label', 'part', 'group'))
        writer.writerow(('train/real/00.jpg', 'real', 'train', 'anna'))
        writer.writerow(('test/real/00.jpg', 'real', 'test', 'anna'))
        writer.writerow(('test/real/01.jpg', 'real', 'test', 'bert'))
    status, found = audit(copy, tmp_path, capsys)
    assert status == 1
    assert found['crossing_groups'] == {'anna': ['train', 'test']}
    assert 'anna' in found['problems'][0]


# --- shortcuts -----------------------------------------------------------------------------------------------------


def png_fakes(folder: Path) -> None:
    for path in folder.glob('*/fake/*.jpg'):
        Image.open(path).save(path.with_suffix('.png'))
        path.unlink()


def small_fakes(folder: Path) -> None:
    for path in folder.glob('*/fake/*.jpg'):
        Image.open(path).resize((96, 96)).save(path, quality=92)


def fakes_with_exif(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = 'camera'
    for path in folder.glob('*/fake/*.jpg'):
        picture = Image.open(path)
        picture.load()
        picture.save(path, quality='keep', exif=exif)


def darker_fakes(folder: Path) -> None:
    for path in folder.glob('*/fake/*.jpg'):
        Image.eval(Image.open(path), lambda value: value // 3).save(path, quality=92)


def faces_that_were_small_before(folder: Path) -> None:
    """The pictures are alike; the manifest alone tells that the fakes were enlarged."""
    rows = [
        [path.relative_to(folder), path.stem, 90 if path.parent.name == 'fake' else 200]
        for path in folder.rglob('*.jpg')
    ]
    lines = [f'{file},{label}{number},{size},{size}' for number, (file, label, size) in enumerate(rows)]
    (folder / 'manifest.csv').write_text('\n'.join(['file,group,width,height', *lines]))


@pytest.mark.parametrize('spoil, shortcut', [
    (faces_that_were_small_before, 'original_size'), (png_fakes, 'jpeg_tables'), (png_fakes, 'file_size'),
    (small_fakes, 'image_size'), (fakes_with_exif, 'exif'), (darker_fakes, 'mean_colour'),
])  # fmt: skip
def test_each_shortcut_is_found(copy, tmp_path, capsys, spoil, shortcut):
    spoil(copy)
    status, found = audit(copy, tmp_path, capsys)
    assert status == 1
    assert found['shortcuts'][shortcut] > 0.9
    low, high = found['intervals'][shortcut]
    assert 0.6 < low <= found['shortcuts'][shortcut] <= high
    assert any(shortcut.replace('_', ' ') in problem for problem in found['problems'])


@pytest.mark.parametrize('count', [6, 12, 40])
def test_a_small_set_raises_no_false_alarm(count):
    rng = np.random.default_rng(count)
    fake = np.repeat([0, 1], count)
    alarms = sum(
        probe(rng.normal(size=(2 * count, 3)), fake, np.arange(2 * count))[1] > audit_dataset.SUSPICIOUS
        for _ in range(40)
    )
    assert alarms == 0


def test_many_frames_of_few_videos_raise_no_false_alarm():
    """Each video has its own brightness. Taken frame by frame, six videos would prove anything."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(20):
        groups = np.repeat(np.arange(12), 50)
        values = rng.normal(size=12)[groups] + rng.normal(0, 0.01, 600)
        alarms += probe(values[:, None], (groups < 6).astype(int), groups)[1] > audit_dataset.SUSPICIOUS
    assert alarms == 0


# --- the command ---------------------------------------------------------------------------------------------------


def test_broken_files_and_missing_classes_are_problems(copy, tmp_path, capsys):
    (copy / 'train' / 'real' / '00.jpg').write_bytes(b'nothing')
    shutil.rmtree(copy / 'val' / 'fake')
    status, found = audit(copy, tmp_path, capsys)
    assert status == 1
    assert [Path(file['path']).name for file in found['broken']] == ['00.jpg']
    assert any('val has no fake image' in problem for problem in found['problems'])
    assert found['counts']['copy']['train'] == {'real': 39, 'fake': 40}


def test_a_lopsided_part_is_a_problem(copy, tmp_path, capsys):
    for path in sorted((copy / 'test' / 'fake').iterdir())[1:]:
        path.unlink()
    assert any('constant predictor' in problem for problem in audit(copy, tmp_path, capsys)[1]['problems'])


def test_a_page_of_text_and_a_figure(copy, run_script, workdir):
    plant_duplicates(copy)
    done = run_script('audit_dataset.py', copy, '--jobs', 1, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) <= 45
    assert max(map(len, done.stdout.splitlines())) < 300
    for expected in ('across parts', 'mean_colour', 'constant predictor', 'PROBLEM', 'figures/copy_audit_pairs.png'):
        assert expected in done.stdout
    assert Image.open(workdir / 'figures' / 'copy_audit_pairs.png').width > 500


def test_json_stands_alone_on_standard_output(sound, run_script):
    done = run_script('audit_dataset.py', sound, '--json')
    assert json.loads(done.stdout)['problems'] == []
    assert 'Traceback' not in done.stderr


def test_a_long_audit_in_a_log_prints_json_alone_too(sound, tmp_path, capsys, monkeypatch):
    """Progress prints a line a minute where there is no terminal, and those belong to standard error here."""
    monkeypatch.setattr(progress, 'PAUSE', 0)
    assert audit_dataset.main([str(sound), '--json', '--jobs', '1', '--figure', str(tmp_path / 'pairs.png')]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)['problems'] == [] and 'images: ' in said.err


def test_files_end_in_any_order_and_keep_their_places(copy, tmp_path, capsys, monkeypatch):
    (copy / 'train' / 'real' / '07.jpg').write_bytes(b'nothing')
    plant_duplicates(copy, 4)
    found = [audit(copy, tmp_path, capsys)[1]]
    monkeypatch.setattr(
        audit_dataset, 'run_all', lambda look, tasks, label, jobs: (look(*task) for task in tasks[::-1])
    )
    found.append(audit(copy, tmp_path, capsys)[1])
    assert found[0]['duplicates'] and found[0]['broken'] and found[0] == found[1]


def test_a_data_set_by_its_name_and_a_folder_of_data_sets(tiny_root, workdir, capsys):
    audit_dataset.main(['fakes_dataset', '--json', '--jobs', '1'])
    assert list(json.loads(capsys.readouterr().out)['counts']) == ['fakes_dataset']
    audit_dataset.main([str(tiny_root), '--json', '--jobs', '1'])
    found = json.loads(capsys.readouterr().out)
    assert list(found['counts']) == ['fakes_dataset', 'synthetic_dataset']
    assert 'synthetic_dataset: blur' in found['shortcuts']


def test_a_data_set_without_parts(sound, tmp_path, capsys):
    status, found = audit(sound / 'train', tmp_path, capsys)
    assert status == 0
    assert found['counts'] == {'train': {'all': {'real': 40, 'fake': 40}}}


def test_what_is_no_data_set(tmp_path, workdir):
    with pytest.raises(UserError, match='preprocessing.py'):
        audit_dataset.main([str(tmp_path)])
    with pytest.raises(UserError, match='No data set "nothing"'):
        audit_dataset.main(['nothing'])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the photographs are on the developers' machines only")
def test_real_photographs_have_no_leak_and_spoilt_ones_show_it(tmp_path, capsys):
    status, found = audit(SHARED / 'fakes_dataset', tmp_path, capsys)
    assert (status, found['problems'], found['duplicates']) == (0, [], [])
