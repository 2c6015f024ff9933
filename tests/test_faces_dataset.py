import shutil

import numpy as np
import pytest
from PIL import Image

from faces_dataset import FacesDataset
from forensics import records
from forensics.data import datasets
from forensics.errors import UserError
from forensics.pictures.files import MAX_PIXELS, BrokenImage, open_image


@pytest.fixture
def folder(tmp_path):
    for label, names in (('real', ['b.jpg', 'a.png']), ('fake', ['c.jpg'])):
        (tmp_path / label).mkdir()
        for name in names:
            Image.new('RGB', (8, 6), 'red').save(tmp_path / label / name)
    return tmp_path


def test_real_images_come_first_and_names_are_sorted(folder):
    dataset = FacesDataset(str(folder))
    assert len(dataset) == 3
    assert dataset.real_image_names == ['a.png', 'b.jpg']
    assert dataset.fake_image_names == ['c.jpg']
    assert dataset.transform is None and dataset.root_path == str(folder)
    assert [label for _, label in dataset] == [0, 0, 1]
    image, label = dataset[0]
    assert isinstance(image, Image.Image) and image.size == (8, 6) and type(label) is int


def test_the_transform_is_applied(folder):
    image, label = FacesDataset(str(folder), transform=lambda picture: picture.size)[2]
    assert (image, label) == ((8, 6), 1)


def test_iterating_ends_and_negative_indices_count_from_the_end(folder):
    dataset = FacesDataset(str(folder))
    assert len(list(dataset)) == 3
    assert dataset[-1][1] == 1 and dataset.image_path(-1).endswith('c.jpg')
    for index in (3, -4):
        with pytest.raises(IndexError):
            dataset[index]


def test_classes_of_unequal_size(folder):
    shutil.copy(folder / 'fake' / 'c.jpg', folder / 'fake' / 'd.jpg')
    shutil.copy(folder / 'fake' / 'c.jpg', folder / 'fake' / 'e.jpg')
    dataset = FacesDataset(str(folder))
    assert [dataset[i][1] for i in range(5)] == [0, 0, 1, 1, 1]
    assert [dataset.image_path(i)[-5:] for i in range(5)] == ['a.png', 'b.jpg', 'c.jpg', 'd.jpg', 'e.jpg']


def test_hidden_files_other_files_and_subfolders_are_no_images(folder):
    (folder / 'real' / '.DS_Store').write_bytes(b'x')
    (folder / 'real' / '._a.jpg').write_bytes(b'x')
    (folder / 'real' / 'notes.txt').write_text('x')
    (folder / 'real' / 'more.jpg').mkdir()
    assert FacesDataset(str(folder)).real_image_names == ['a.png', 'b.jpg']


def test_a_missing_class_is_named(folder):
    shutil.rmtree(folder / 'fake')
    with pytest.raises(UserError, match='fake is missing'):
        FacesDataset(str(folder))


def test_an_empty_class_is_a_dataset_of_the_other_one(folder):
    (folder / 'fake' / 'c.jpg').unlink()
    assert [label for _, label in FacesDataset(str(folder))] == [0, 0]


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'LA', 'CMYK', '1', 'I', 'I;16', 'F'])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode):
    path = tmp_path / ('x.tif' if mode in ('CMYK', 'F', 'I', 'I;16', 'LA') else 'x.png')
    grey = Image.fromarray(np.full((4, 5), 128, np.uint8))
    if mode == 'I;16':
        Image.fromarray(np.full((4, 5), 128 * 257, np.uint16)).save(path)
    else:
        grey.convert(mode).save(path)
    image = open_image(path)
    assert image.mode == 'RGB' and image.size == (5, 4)
    if mode != '1':
        assert np.abs(np.asarray(image).astype(int) - 128).max() <= 2


def test_transparent_pixels_are_shown_on_white(tmp_path):
    Image.new('RGBA', (2, 2), (0, 0, 0, 0)).save(tmp_path / 'x.png')
    assert np.asarray(open_image(tmp_path / 'x.png')).min() == 255


def test_16_bit_pictures_are_not_clipped_to_white(tmp_path):
    Image.fromarray(np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)).save(tmp_path / 'x.png')
    values = np.asarray(open_image(tmp_path / 'x.png'))[..., 0].ravel()
    assert np.abs(values.astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize('content', ['empty', 'text', 'truncated'])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / 'broken.jpg'
    Image.effect_noise((64, 64), 80).save(path)
    whole = path.read_bytes()
    path.write_bytes({'empty': b'', 'text': b'hello', 'truncated': whole[: len(whole) // 2]}[content])
    with pytest.raises(BrokenImage, match='broken.jpg'):
        open_image(path)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    side = int(MAX_PIXELS**0.5) + 1
    Image.new('1', (side, side)).save(tmp_path / 'huge.png')
    with pytest.raises(BrokenImage, match='huge.png.*pixels'):
        open_image(tmp_path / 'huge.png')


def test_a_broken_image_survives_the_way_from_a_worker_process():
    import pickle

    error = pickle.loads(pickle.dumps(BrokenImage('a.jpg', 'not an image')))
    assert str(error) == 'a.jpg: not an image' and error.path == 'a.jpg'


class TestFindingDatasets:
    @pytest.fixture(autouse=True)
    def nowhere(self, tmp_path, monkeypatch):
        monkeypatch.delenv('FACES_DATASETS', raising=False)
        monkeypatch.setattr(datasets, 'DEMO_ROOT', tmp_path / 'demo')
        (tmp_path / 'solution').mkdir()
        monkeypatch.chdir(tmp_path / 'solution')
        self.top = tmp_path

    def make(self, root):
        (root / 'faces' / 'test' / 'real').mkdir(parents=True)
        (root / 'faces' / 'test' / 'fake').mkdir()

    def test_beside_the_solution_as_in_the_text(self):
        self.make(self.top / 'Assignment4_datasets')
        self.make(self.top)
        assert datasets.find_part('faces', 'test').resolve() == self.top / 'Assignment4_datasets/faces/test'

    def test_around_the_solution_as_in_figure_1_1(self):
        self.make(self.top)
        assert datasets.find_part('faces', 'test').resolve() == self.top / 'faces/test'

    def test_demo_data_come_last(self):
        self.make(self.top / 'demo')
        assert datasets.find_part('faces', 'test') == self.top / 'demo/faces/test'

    def test_a_chosen_root_is_the_only_one(self, monkeypatch):
        self.make(self.top)
        monkeypatch.setenv('FACES_DATASETS', str(self.top / 'elsewhere'))
        with pytest.raises(UserError, match='elsewhere.*make_demo_data.py'):
            datasets.find_dataset('faces')

    def test_a_dataset_without_parts_names_the_command_that_splits_it(self):
        for label in ('real', 'fake'):
            (self.top / 'faces' / label).mkdir(parents=True)
        with pytest.raises(UserError, match='python preprocessing.py'):
            datasets.find_part('faces', 'train')

    def test_a_missing_part_is_named(self):
        self.make(self.top)
        with pytest.raises(UserError, match='no part "val"; it has test'):
            datasets.find_part('faces', 'val')


def test_the_fingerprint_notices_added_and_rewritten_files(folder):
    before = datasets.fingerprint(folder)
    assert before == datasets.fingerprint(folder)
    Image.new('RGB', (9, 9)).save(folder / 'real' / 'new.png')
    added = datasets.fingerprint(folder)
    (folder / 'real' / 'new.png').write_bytes(b'other')
    assert len({before, added, datasets.fingerprint(folder)}) == 3


def test_drawn_data_are_recognised_whatever_processor_drew_them(folder, tmp_path_factory):
    """bonus.pt did not know the demo data that it was trained on, where another processor had drawn them."""
    card = {'source': 'drawn by make_demo_data.py; no photograph was used', 'version': 1, 'seed': 0}
    folder = shutil.copytree(folder, tmp_path_factory.mktemp('drawn') / 'train')
    records.write_json(folder.parent / 'dataset.json', card)
    drawn = datasets.fingerprint(folder)
    (folder / 'real' / 'a.png').write_bytes(b'drawn elsewhere')
    assert datasets.fingerprint(folder) == drawn
    Image.new('RGB', (9, 9)).save(folder / 'real' / 'new.png')
    assert datasets.fingerprint(folder) != drawn
    (folder / 'real' / 'new.png').unlink()
    assert datasets.fingerprint(shutil.copytree(folder, folder.parent / 'val')) != drawn
    for other in (card | {'seed': 1}, card | {'version': 2}, card | {'source': 'my photographs'}):
        records.write_json(folder.parent / 'dataset.json', other)
        assert datasets.fingerprint(folder) != drawn


def test_the_kind_of_fakes_is_a_tag_of_the_card(folder, tmp_path, monkeypatch):
    monkeypatch.setenv('FACES_DATASETS', str(tmp_path))
    assert datasets.kind_of('faces') is None
    shutil.copytree(folder, tmp_path / 'faces' / 'test')
    assert datasets.kind_of('faces') is None
    records.write_json(tmp_path / 'faces' / 'dataset.json', {'kind': 'swap'})
    assert datasets.kind_of('faces') == 'swap'
    records.write_json(tmp_path / 'faces' / 'dataset.json', {'kind': 3})
    with pytest.raises(UserError, match='"kind" is to be a word, as "swap"; it is 3'):
        datasets.kind_of('faces')


def test_a_card_that_is_no_json_is_named(tmp_path):
    assert datasets.read_card(tmp_path) == {}
    for content in ('{', '[]'):
        (tmp_path / 'dataset.json').write_text(content)
        with pytest.raises(UserError, match='dataset.json'):
            datasets.read_card(tmp_path)
