"""Divide a data set into parts by group, and find groups that leak from one part into another.

A group is everything that must stay together: a person, a video, a photograph and the fakes made from it. Pictures of
one group in two parts let a detector recognise instead of detect.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from forensics.data.datasets import CLASSES, PARTS
from forensics.errors import UserError


def join_groups(names: Sequence[Sequence[str]], pairs: Iterable[tuple[np.ndarray, np.ndarray]] = ()) -> list[str]:
    """One group name for each item: items that share any of their names, or stand in a pair, get the same one.

    `pairs` holds arrays of item numbers, piece by piece, as `near_pairs` gives them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nof_items = len(names)
    numbers: dict[str, int] = {}
    of_item = [[numbers.setdefault(name, nof_items + len(numbers)) for name in own] for own in names]
    nodes = nof_items + len(numbers)
    i = np.array([item for item, own in enumerate(of_item) for _ in own], dtype=np.intp)
    j = np.array([number for own in of_item for number in own], dtype=np.intp)
    labels = np.arange(nodes)
    for a, b in gather(itertools.chain([(i, j)], pairs)):
        links = coo_array((np.ones(len(a), dtype=bool), (labels[a], labels[b])), shape=(nodes, nodes))
        labels = connected_components(links, directed=False)[1][labels]

    # A joined group is called by the first of its names, so that the same data give the same names.
    called: dict[int, str] = {}
    for name, number in numbers.items():
        label = int(labels[number])
        called[label] = min(called.get(label, name), name)
    return [called[int(label)] for label in labels[:nof_items]]


def gather(pieces: Iterable[tuple[np.ndarray, np.ndarray]], most: int = 1_000_000) -> Iterator[tuple]:
    """Merge short pieces into long ones: each join costs time for all items, however few its pairs."""
    held, size = [], 0
    for piece in pieces:
        held.append(piece)
        size += len(piece[0])
        if size >= most:
            yield tuple(map(np.concatenate, zip(*held, strict=True)))
            held, size = [], 0
    if held:
        yield tuple(map(np.concatenate, zip(*held, strict=True)))


def parse_ratios(text: str) -> tuple[float, float, float]:
    """'70/15/15' -> (0.7, 0.15, 0.15)"""
    try:
        values = [float(part) for part in text.split('/')]
    except ValueError:
        values = []
    if len(values) != len(PARTS) or min(values) < 0 or not 0 < sum(values) < float('inf'):
        raise UserError(f'"{text}" is no division: give the shares of {", ".join(PARTS)}, as in 70/15/15.')
    return tuple(value / sum(values) for value in values)


def assign_parts(labels: Sequence[str], groups: Sequence[str], ratios: Sequence[float], seed: int) -> list[str]:
    """A part for each item: groups stay whole, each class gets the same shares, and a seed gives the same result.

    Groups are shuffled, then placed from the biggest to the smallest, each in the part that lacks its classes most.
    """
    names = sorted(set(groups))
    number = {name: index for index, name in enumerate(names)}
    of_item = np.array([number[group] for group in groups], dtype=np.intp)
    sizes = np.zeros((len(names), len(CLASSES)))
    np.add.at(sizes, (of_item, [CLASSES.index(label) for label in labels]), 1)

    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order].sum(axis=1), kind='stable')]
    missed = [[ratio] * len(CLASSES) for ratio in ratios]
    open_parts = [part for part, ratio in enumerate(ratios) if ratio > 0]
    # Plain numbers: for a million groups of one picture NumPy's overhead on pairs would take minutes.
    shares = (sizes / np.maximum(sizes.sum(axis=0), 1)).tolist()
    chosen = [0] * len(names)
    for group in order.tolist():
        need = shares[group]
        gains = [sum(n * m for n, m in zip(need, missed[part], strict=True)) for part in open_parts]
        best = chosen[group] = open_parts[gains.index(max(gains))]
        missed[best] = [m - n for m, n in zip(missed[best], need, strict=True)]
    return [PARTS[chosen[index]] for index in of_item.tolist()]


def balance(labels: Sequence[str], parts: Sequence[str], seed: int, total: int | None = None) -> list[bool]:
    """True for each item to keep, so that every part is half real and half fake; `total` limits all parts together."""
    counts = Counter(zip(parts, labels, strict=True))
    even = {part: min(counts[part, label] for label in CLASSES) for part in PARTS}
    if total is not None and sum(even.values()) * 2 > total:
        scale = total / (sum(even.values()) * 2)
        even = {part: int(number * scale + 0.5) for part, number in even.items()}
    keep = np.zeros(len(labels), dtype=bool)
    rng = np.random.default_rng(seed)
    labels, parts = np.asarray(labels), np.asarray(parts)
    for part in PARTS:
        for label in CLASSES:
            members = np.flatnonzero((parts == part) & (labels == label))
            keep[rng.permutation(members)[: even[part]]] = True
    return keep.tolist()


def crossing_groups(groups: Sequence[str], parts: Sequence[str]) -> dict[str, list[str]]:
    """{group: its parts} for the groups that are in more than one part."""
    where: dict[str, set[str]] = {}
    for group, part in zip(groups, parts, strict=True):
        where.setdefault(group, set()).add(part)
    return {group: sorted(found, key=PARTS.index) for group, found in sorted(where.items()) if len(found) > 1}
