"""Every layout is read from a small tree of videos that the tests make."""

import json
import shutil

import av
import numpy as np
import pytest

from forensics.data.layouts import read_csv, read_dataset, read_input
from forensics.errors import UserError


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp('video') / 'some.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, 'yuv420p'
        for grey in range(0, 200, 25):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), grey, np.uint8), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def tree(tmp_path, video):
    def make(*files: str):
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(video, tmp_path / file)
        return tmp_path

    return make


def read(root) -> tuple[str, dict]:
    layout, sources = read_dataset(root)
    return layout, {
        source.path.removeprefix(f'{root}/'): (source.label, source.groups, source.part) for source in sources
    }


def test_plain(tree):
    root = tree('Real/a.mp4', 'Real/more/b.MOV', 'Fake/c.avi', 'Real/.hidden/d.mp4', 'Fake/notes.txt')
    layout, found = read(root)
    assert layout == 'plain'
    assert {file: label for file, (label, _, _) in found.items()} == {
        'Real/a.mp4': 'real', 'Real/more/b.MOV': 'real', 'Fake/c.avi': 'fake'}  # fmt: skip
    assert len({groups for _, groups, _ in found.values()}) == 3


def test_scaling_a_data_set_does_not_lose_its_persons(tree):
    root = tree('train/real/a.mp4', 'train/fake/b.mp4', 'val/real/c.mp4', 'val/fake/d.mp4')
    (root / 'manifest.csv').write_text('file,group\ntrain/real/a.mp4,anna\ntrain/fake/b.mp4,anna\nval/real/c.mp4,\n')
    _, found = read(root)
    groups = [groups for _, groups, _ in found.values()]
    assert groups[0] == groups[1] == ('anna',)
    assert len(set(groups)) == 3  # who is not named stands alone


def test_the_assignments(tree):
    layout, found = read(tree('train/real/a.mp4', 'train/fake/b.mp4', 'test/real/a.mp4', 'test/fake/b.mp4'))
    assert layout == "the assignment's"
    assert [(file, label, part) for file, (label, _, part) in found.items()] == [
        ('train/real/a.mp4', 'real', 'train'), ('train/fake/b.mp4', 'fake', 'train'),
        ('test/real/a.mp4', 'real', 'test'), ('test/fake/b.mp4', 'fake', 'test')]  # fmt: skip


def test_faceforensics(tree):
    root = tree(
        'original_sequences/youtube/c23/videos/000.mp4',
        'original_sequences/actors/c23/videos/01__walking.mp4',
        'manipulated_sequences/Deepfakes/c23/videos/000_003.mp4',
        'manipulated_sequences/Deepfakes/masks/videos_of_masks/000_003.mp4',
        'manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walking__ABC.mp4',
    )
    layout, found = read(root)
    assert layout == 'FaceForensics++'
    assert found == {
        'original_sequences/youtube/c23/videos/000.mp4': ('real', ('youtube 000',), ''),
        'original_sequences/actors/c23/videos/01__walking.mp4': ('real', ('actor 01',), ''),
        'manipulated_sequences/Deepfakes/c23/videos/000_003.mp4': ('fake', ('youtube 000', 'youtube 003'), ''),
        'manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walking__ABC.mp4': ('fake', ('actor 01',), ''),
    }


def test_the_official_split_of_faceforensics(tree):
    root = tree('original_sequences/youtube/c0/videos/003.mp4', 'manipulated_sequences/FaceSwap/c0/videos/000_003.mp4')
    (root / 'splits').mkdir()
    (root / 'splits' / 'val.json').write_text(json.dumps([['000', '003']]))
    assert {part for _, _, part in read(root)[1].values()} == {'val'}


def test_celeb_df(tree):
    root = tree('Celeb-real/id0_0000.mp4', 'Celeb-synthesis/id0_id16_0000.mp4', 'YouTube-real/00170.mp4')
    (root / 'List_of_testing_videos.txt').write_text('1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id5_id6_0001.mp4\n')
    layout, found = read(root)
    assert layout == 'Celeb-DF'
    assert found == {
        'Celeb-real/id0_0000.mp4': ('real', ('id0',), ''),
        'Celeb-synthesis/id0_id16_0000.mp4': ('fake', ('id0',), ''),
        'YouTube-real/00170.mp4': ('real', ('youtube 00170',), 'test'),
    }


def test_dfdc(tree):
    root = tree('dfdc_train_part_0/aa.mp4', 'dfdc_train_part_0/bb.mp4', 'dfdc_train_part_1/cc.mp4')
    (root / 'dfdc_train_part_0' / 'metadata.json').write_text(json.dumps({
        'aa.mp4': {'label': 'FAKE', 'split': 'train', 'original': 'bb.mp4'},
        'bb.mp4': {'label': 'REAL', 'split': 'train', 'original': None}}))  # fmt: skip
    (root / 'dfdc_train_part_1' / 'metadata.json').write_text(json.dumps({'cc.mp4': {'label': 'REAL'}}))
    layout, found = read(root)
    assert layout == 'DFDC'
    assert found == {
        'dfdc_train_part_0/aa.mp4': ('fake', ('bb.mp4',), ''),
        'dfdc_train_part_0/bb.mp4': ('real', ('bb.mp4',), ''),
        'dfdc_train_part_1/cc.mp4': ('real', ('cc.mp4',), ''),
    }


def test_uadfv(tree):
    layout, found = read(tree('real/0000.mp4', 'real/0001.mp4', 'fake/0000_fake.mp4', 'fake/0001_fake.mp4'))
    assert layout == 'UADFV'
    assert found['real/0000.mp4'] == ('real', ('0000',), '')
    assert found['fake/0000_fake.mp4'] == ('fake', ('0000',), '')


def test_uadfv_as_folders_of_frames(tree, tmp_path):
    from PIL import Image

    for folder in ('real/0000', 'fake/0000_fake'):
        (tmp_path / folder).mkdir(parents=True)
        for frame in range(2):
            Image.new('RGB', (8, 8)).save(tmp_path / folder / f'{frame}.png')
    layout, found = read(tmp_path)
    assert layout == 'UADFV'
    assert [groups for _, groups, _ in found.values()] == [('0000',)] * 4


def test_csv(tree, tmp_path):
    tree('a.mp4', 'b.mp4')
    (tmp_path / 'list.csv').write_text('path,label,group\na.mp4,real,anna\nb.mp4,1,\n')
    first, second = read_csv(tmp_path / 'list.csv')
    assert (first.label, first.groups) == ('real', ('anna',))
    assert (second.label, second.groups) == ('fake', (str(tmp_path / 'b.mp4'),))
    assert read_dataset(tmp_path / 'list.csv') == ('CSV', [first, second])


@pytest.mark.parametrize('text, message', [
    ('file,label\na,real\n', 'no column "path"'),
    ('path,label\na.jpg,maybe\n', 'line 2: label "maybe"'),
    ('path,label,part\na.jpg,real,exam\n', 'line 2: part "exam"'),
])  # fmt: skip
def test_a_wrong_csv_says_where(tmp_path, text, message):
    (tmp_path / 'list.csv').write_text(text)
    with pytest.raises(UserError, match=message):
        read_csv(tmp_path / 'list.csv')


def test_a_csv_may_not_contradict_the_option(tmp_path):
    (tmp_path / 'list.csv').write_text('path,label\na.jpg,fake\n')
    with pytest.raises(UserError, match='"real", as the option says'):
        read_input(tmp_path / 'list.csv', 'real')


def test_what_is_no_input_is_named(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        read_input(tmp_path / 'nothing', 'real')
    (tmp_path / 'text.txt').write_text('')
    with pytest.raises(UserError, match='neither an image nor a video'):
        read_input(tmp_path / 'text.txt', 'real')
    (tmp_path / 'stuff').mkdir()
    with pytest.raises(UserError, match='--real and --fake'):
        read_dataset(tmp_path / 'stuff')
