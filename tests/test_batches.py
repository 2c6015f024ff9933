import numpy as np
import pytest
import torch
from conftest import draw
from PIL import Image
from torch.utils.data import TensorDataset
from torchvision import transforms

import utils
from faces_dataset import FacesDataset
from forensics.errors import UserError
from forensics.running import batches, runtime
from forensics.running.batches import Batches, ByteCache, preload, scores_of

CPU = torch.device('cpu')


@pytest.fixture
def dataset(tiny_root):
    return FacesDataset(str(tiny_root / 'fakes_dataset' / 'val'), utils.TRANSFORM_TRAIN)


def plain_way(dataset):
    """The same data set, hidden from the fast path."""

    class Plain(torch.utils.data.Dataset):
        def __len__(self):
            return len(dataset)

        def __getitem__(self, index):
            return dataset[index]

    return Plain()


def collect(dataset, **options):
    inputs, labels, indices = zip(*Batches(dataset, 5, CPU, **options), strict=True)
    return torch.cat(inputs), torch.cat(labels), sum(indices, [])


@pytest.mark.parametrize('transform', [utils.TRANSFORM_TRAIN, utils.TRANSFORM_TEST])
def test_the_fast_way_gives_what_the_plain_way_gives(dataset, transform):
    dataset.transform = transform
    for seed in (1, 2):  # the second pass comes from the cache
        fast, plain = (collect(d, shuffle=True, seed=seed) for d in (dataset, plain_way(dataset)))
        assert fast[2] == plain[2] and torch.equal(fast[1], plain[1])
        torch.testing.assert_close(fast[0], plain[0], atol=1e-5, rtol=0)
        assert fast[0].is_contiguous(memory_format=torch.channels_last)
    assert ByteCache.of(dataset).complete


@pytest.mark.parametrize('make', [lambda d: d, plain_way])
def test_workers_change_no_number(dataset, make):
    first = collect(make(dataset), shuffle=True, seed=3)
    second = collect(make(dataset), shuffle=True, seed=3, workers=2)
    assert torch.equal(first[0], second[0]) and first[2] == second[2]


def test_batches_leave_the_global_random_numbers_alone(dataset):
    torch.manual_seed(0)
    collect(dataset, shuffle=True)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))


def test_every_pass_has_another_order_and_other_augmentations(dataset):
    first, second = (collect(dataset, shuffle=True, seed=seed) for seed in (1, 2))
    assert first[2] != second[2] and sorted(first[2]) == sorted(second[2]) == list(range(len(dataset)))
    unshuffled = [collect(dataset, seed=seed)[0] for seed in (1, 2)]
    assert not torch.equal(*unshuffled)


def test_a_transform_that_we_do_not_know_goes_the_plain_way(dataset):
    dataset.transform = transforms.Compose([transforms.ColorJitter(0.5), transforms.ToTensor()])
    assert batches.BatchTransform.of(dataset.transform) is None
    inputs, _, _ = collect(dataset)
    with runtime.seeded(int(Batches(dataset, 5, CPU).seeds[0])):
        assert torch.equal(inputs[0], dataset[0][0])


def test_a_subclass_with_its_own_items_goes_the_plain_way(dataset):
    class Inverted(FacesDataset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return -image, label

    inverted = Inverted(dataset.root_path, utils.TRANSFORM_TEST)
    dataset.transform = utils.TRANSFORM_TEST
    torch.testing.assert_close(collect(inverted)[0], -collect(dataset)[0], atol=1e-5, rtol=0)


def test_the_cache_notices_a_file_that_changed(tmp_path):
    for label in ('real', 'fake'):
        (tmp_path / label).mkdir()
        draw(tmp_path / label / 'a.jpg', np.random.default_rng(0), False)
    dataset = FacesDataset(str(tmp_path), utils.TRANSFORM_TEST)
    before = collect(dataset)[0]
    draw(tmp_path / 'fake' / 'a.jpg', np.random.default_rng(1), False)
    after = collect(dataset)[0]
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


def test_a_dataset_past_the_memory_limit_is_decoded_again_and_again(dataset, monkeypatch):
    expected = collect(dataset)[0]
    fresh = FacesDataset(dataset.root_path, dataset.transform)
    monkeypatch.setattr(runtime, 'free_memory', lambda device: 1000)
    for _ in range(2):
        assert torch.equal(collect(fresh)[0], expected)
        assert ByteCache.of(fresh) is None


def test_images_of_several_sizes_are_cropped_one_by_one(tmp_path):
    for label, size in (('real', 256), ('fake', 270)):
        (tmp_path / label).mkdir()
        draw(tmp_path / label / 'a.jpg', np.random.default_rng(0), False, size)
    dataset = FacesDataset(str(tmp_path), utils.TRANSFORM_TRAIN)
    fast, plain = collect(dataset), collect(plain_way(dataset))
    torch.testing.assert_close(fast[0], plain[0], atol=1e-5, rtol=0)
    dataset.transform = utils.TRANSFORM_TEST
    with pytest.raises(UserError, match='a.jpg is 270x270'):
        collect(dataset)


def test_preload_finds_what_is_broken_and_every_size(tmp_path):
    for label in ('real', 'fake'):
        (tmp_path / label).mkdir()
        Image.new('RGB', (8, 6)).save(tmp_path / label / 'a.jpg')
    Image.new('RGB', (5, 5)).save(tmp_path / 'real' / 'b.jpg')
    (tmp_path / 'fake' / 'c.jpg').write_text('no image')
    broken, sizes = preload(FacesDataset(str(tmp_path)), 'test')
    assert [error.path for error in broken] == [str(tmp_path / 'fake' / 'c.jpg')]
    assert set(sizes) == {(8, 6), (5, 5)}


def test_scores_are_in_order_and_the_training_flag_stays():
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Identity())
    model.train()
    samples = torch.arange(14.0).reshape(7, 2)
    outputs, labels = scores_of(model, TensorDataset(samples, torch.arange(7)), batch_size=3)
    assert torch.equal(outputs, samples) and labels.tolist() == list(range(7))
    assert model.training


def test_an_empty_dataset_is_a_readable_error():
    with pytest.raises(UserError, match='no samples'):
        Batches(TensorDataset(torch.zeros(0, 2), torch.zeros(0)), 4, CPU)


class Graders(torch.utils.data.Dataset):
    """Has a method of the same name as ours, and nothing else that we use."""

    transform = transforms.ToTensor()

    def load(self, index):
        return Image.new('RGB', (8, 8), (index, 0, 0))

    def __getitem__(self, index):
        return self.transform(self.load(index)), np.array([index % 2])

    def __len__(self):
        return 4


def test_a_data_set_with_a_load_of_its_own_goes_the_plain_way():
    wanted = torch.cat([inputs for inputs, _ in torch.utils.data.DataLoader(Graders(), 2)])
    assert torch.equal(torch.cat([inputs for inputs, _, _ in Batches(Graders(), 2, CPU)]), wanted)
