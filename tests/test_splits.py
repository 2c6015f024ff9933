"""Groups, parts, the perceptual hash and the search for near-duplicates."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from forensics.data.duplicates import NEAR, near_pairs, nearest_across, picture_hash, same_picture
from forensics.data.splits import assign_parts, balance, crossing_groups, join_groups, parse_ratios
from forensics.errors import UserError


def picture(seed: int, size: int = 256) -> Image.Image:
    """Smooth blotches with some texture: no two seeds alike."""
    rng = np.random.default_rng(seed)
    blotches = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((size, size), 3)
    return Image.fromarray(np.clip(np.asarray(blotches) + rng.normal(0, 6, (size, size, 3)), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=quality)
    return Image.open(file)


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.linalg.norm(picture_hash(one).astype(float) - picture_hash(other).astype(float)))


# --- groups and parts ----------------------------------------------------------------------------------------------


def test_items_that_share_a_name_or_a_pair_are_one_group():
    names = [('000', '003'), ('003', '000'), ('001',), ('002',), ('005', '001')]
    assert join_groups(names) == ['000', '000', '001', '002', '001']
    pairs = iter([(np.array([3]), np.array([2])), (np.array([0]), np.array([3]))])
    assert join_groups(names, pairs) == ['000'] * 5


def test_parts_hold_whole_groups_in_the_asked_proportions():
    rng = np.random.default_rng(0)
    labels = ['real'] * 700 + ['fake'] * 300
    groups = [f'person {number}' for number in rng.integers(0, 200, 1000)]
    parts = assign_parts(labels, groups, (0.7, 0.15, 0.15), seed=1)
    assert crossing_groups(groups, parts) == {}
    counts = Counter(zip(parts, labels, strict=True))
    for part, share in (('train', 0.7), ('val', 0.15), ('test', 0.15)):
        assert counts[part, 'real'] == pytest.approx(700 * share, abs=6)
        assert counts[part, 'fake'] == pytest.approx(300 * share, abs=6)


def test_single_pictures_are_divided_to_the_picture():
    labels = ['real'] * 100 + ['fake'] * 40
    parts = assign_parts(labels, [str(number) for number in range(140)], (0.7, 0.15, 0.15), seed=0)
    assert Counter(zip(parts, labels, strict=True)) == {
        ('train', 'real'): 70, ('val', 'real'): 15, ('test', 'real'): 15,
        ('train', 'fake'): 28, ('val', 'fake'): 6, ('test', 'fake'): 6,
    }  # fmt: skip


def test_big_groups_do_not_upset_the_proportions():
    groups = ['crowd'] * 300 + [f'ten {number // 10}' for number in range(200)] + [f'one {i}' for i in range(200)]
    labels = ['real', 'fake'] * 350
    parts = assign_parts(labels, groups, (0.7, 0.15, 0.15), seed=0)
    assert crossing_groups(groups, parts) == {}
    assert Counter(parts) == {
        'train': pytest.approx(490, abs=3), 'val': pytest.approx(105, abs=3), 'test': pytest.approx(105, abs=3)
    }  # fmt: skip


def test_the_seed_decides_and_the_order_of_the_items_does_not():
    labels, groups = ['real', 'fake'] * 50, [str(number // 2) for number in range(100)]
    first = assign_parts(labels, groups, (0.5, 0.25, 0.25), seed=3)
    assert first == assign_parts(labels, groups, (0.5, 0.25, 0.25), seed=3)
    assert first != assign_parts(labels, groups, (0.5, 0.25, 0.25), seed=4)
    assert first[::-1] == assign_parts(labels[::-1], groups[::-1], (0.5, 0.25, 0.25), seed=3)


def test_a_part_of_share_nought_stays_empty():
    assert set(assign_parts(['real', 'fake'] * 5, list('abcdefghij'), (0, 0, 1), seed=0)) == {'test'}


def test_ratios():
    assert parse_ratios('70/15/15') == pytest.approx((0.7, 0.15, 0.15))
    assert parse_ratios('2/1/1') == (0.5, 0.25, 0.25)
    for wrong in ('70/30', 'a/b/c', '0/0/0', '-1/1/1', 'nan/1/1', ''):
        with pytest.raises(UserError, match='70/15/15'):
            parse_ratios(wrong)


def test_balance_evens_every_part_out():
    labels = ['real'] * 30 + ['fake'] * 90
    parts = (['train'] * 20 + ['val'] * 5 + ['test'] * 5) + (['train'] * 60 + ['val'] * 15 + ['test'] * 15)
    kept = Counter(
        zip(np.array(parts)[balance(labels, parts, 0)], np.array(labels)[balance(labels, parts, 0)], strict=True)
    )
    assert kept == {
        (part, label): number for part, number in (('train', 20), ('val', 5), ('test', 5)) for label in ('real', 'fake')
    }
    assert sum(balance(labels, parts, 0, total=24)) == 24


def test_crossing_groups_are_named_with_their_parts():
    assert crossing_groups(['a', 'b', 'a', 'b'], ['test', 'val', 'train', 'val']) == {'a': ['train', 'test']}


# --- near-duplicates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('spoil', [
    lambda image: encoded(image, 30),
    lambda image: encoded(image.resize((200, 200)), 50),
    lambda image: image.resize((64, 64)).resize((256, 256)),
    lambda image: image.convert('L'),
    lambda image: Image.eval(image, lambda value: int(value * 0.9)),
])  # fmt: skip
def test_a_spoilt_copy_is_near(spoil):
    for seed in range(5):
        assert distance(picture(seed), spoil(picture(seed))) < NEAR / 2


def test_other_pictures_are_far():
    assert min(distance(picture(a), picture(b)) for a in range(12) for b in range(a)) > 3 * NEAR


def test_all_black_frames_are_one_picture():
    rng = np.random.default_rng(0)
    dark = [Image.fromarray(rng.integers(0, 3, (64, 64, 3), dtype=np.uint8)) for _ in range(2)]
    assert distance(*dark) < NEAR


def test_a_fake_made_from_a_photograph_is_near_and_not_the_same_picture():
    photograph = picture(1)
    fake = photograph.copy()
    fake.paste(picture(2).crop((0, 0, 40, 30)), (110, 120))
    assert distance(photograph, fake) < NEAR
    assert not same_picture(photograph, fake)
    assert same_picture(photograph, encoded(photograph.resize((150, 150)), 50))
    assert same_picture(photograph, photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def every_pair(hashes: np.ndarray) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for i, j, _ in near_pairs(hashes) for a, b in zip(i, j, strict=True)}


def test_the_search_finds_what_comparing_all_with_all_finds():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 63))
    hashes = centres[rng.integers(0, 40, 600)] + rng.normal(0, 0.05, (600, 63))
    hashes = (hashes / np.linalg.norm(hashes, axis=1, keepdims=True)).astype(np.float16)
    full = hashes.astype(np.float32)
    distances = np.linalg.norm(full[:, None] - full[None], axis=2)
    expected = {(a, b) for a in range(600) for b in range(a + 1, 600) if distances[a, b] <= NEAR}
    assert 100 < len(expected) < 10_000
    assert every_pair(hashes) == expected


@pytest.mark.parametrize('drawn', [*map(picture, range(6)), picture(6, size=50), Image.new('RGB', (64, 64), 'grey')])
def test_the_hash_is_the_cosine_transform_of_a_thumbnail(drawn):
    """By the transform's definition: hashes that are on a disk stay comparable."""
    k, x = np.mgrid[:8, :16]
    rows = np.cos(np.pi * k * (2 * x + 1) / 32) * np.where(k, np.sqrt(1 / 8), np.sqrt(1 / 16))
    thumbnail = np.asarray(drawn.convert('L').resize((16, 16), Image.Resampling.BOX), dtype=float)
    spectrum = (rows @ thumbnail @ rows.T).ravel()[1:]
    expected = (spectrum / np.hypot(np.linalg.norm(spectrum), 32)).astype(np.float16)
    np.testing.assert_array_equal(picture_hash(drawn), expected)


def test_mirrored_copies_are_found():
    mirrored = picture(4).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    hashes = np.array([picture_hash(image) for image in (picture(3), picture(4), mirrored)])
    assert every_pair(hashes) == {(1, 2)}


def test_a_crowd_of_identical_pictures_costs_one_pair_each():
    hashes = np.tile(picture_hash(picture(0)), (5000, 1))
    assert every_pair(hashes) == {(0, number) for number in range(1, 5000)}


def test_planted_copies_are_found_among_twenty_thousand():
    rng = np.random.default_rng(1)
    hashes = rng.normal(size=(20_000, 63)) / np.arange(1, 64) ** 0.7  # as in photographs, low frequencies are strong
    hashes /= np.linalg.norm(hashes, axis=1, keepdims=True)
    hashes[-50:] = hashes[:50] + rng.normal(0, 0.004, (50, 63))
    assert {(number, 19_950 + number) for number in range(50)} <= every_pair(hashes.astype(np.float16))


def test_few_pictures_have_no_pairs():
    assert every_pair(np.zeros((0, 63), np.float16)) == every_pair(np.zeros((1, 63), np.float16)) == set()


def test_the_nearest_of_another_kind():
    hashes = np.array([picture_hash(image) for image in (picture(0), picture(0), encoded(picture(0), 20), picture(1))])
    i, j, _ = nearest_across(hashes, np.array(['train', 'train', 'test', 'test']))[0]
    assert (i, j) in ((0, 2), (1, 2))
