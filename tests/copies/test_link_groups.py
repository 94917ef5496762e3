"""Linked items are grouped round those with most links, and what is unlike its group's head is left out of it."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.copies.link_groups import Alike, group_heads

Ints = npt.NDArray[np.int64]


def never(first: Ints, second: Ints) -> npt.NDArray[np.bool_]:
    return np.zeros(len(first), bool)


def always(first: Ints, second: Ints) -> npt.NDArray[np.bool_]:
    return np.ones(len(first), bool)


def all_but_three(first: Ints, second: Ints) -> npt.NDArray[np.bool_]:
    return second != 3


def heads_of(items: int, links: list[tuple[int, int]], alike: Alike = never) -> list[int]:
    return group_heads(items, np.array(links, np.int64).reshape(-1, 2), alike).tolist()


@pytest.mark.parametrize(
    ("items", "links", "heads"),
    [
        (0, [], []),
        (3, [], [-1, -1, -1]),
        (3, [(0, 2)], [0, -1, 0]),
        (4, [(0, 1), (0, 2), (1, 2)], [0, 0, 0, -1]),
        (4, [(0, 3), (1, 3), (2, 3)], [3, 3, 3, 3]),
        (5, [(0, 1), (1, 2), (2, 3), (3, 4)], [1, 1, 1, 3, 3]),
        (6, [(0, 1), (1, 5), (3, 4), (4, 5)], [1, 1, -1, 3, 3, 1]),
        (6, [(0, 1), (2, 3), (4, 5)], [0, 0, 2, 2, 4, 4]),
    ],
    ids=["nothing", "no links", "a pair", "a triangle", "a star", "a chain", "another chain", "three pairs"],
)
def test_groups_are_what_is_linked_to_their_head(items: int, links: list[tuple[int, int]], heads: list[int]) -> None:
    assert heads_of(items, links) == heads


def test_items_one_link_further_belong_to_it_only_if_they_are_like_the_head() -> None:
    chain = [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert heads_of(5, chain, always) == [1, 1, 1, 1, -1]
    assert heads_of(5, chain, all_but_three) == [1, 1, 1, 3, 3]


def one_after_the_other(items: int, links: Ints) -> list[int]:
    """Group as ``group_heads`` says it does, by the word: a component at a time, with sets."""
    neighbours: dict[int, set[int]] = {item: set() for item in range(items)}
    for one, other in links.tolist():
        neighbours[one].add(other)
        neighbours[other].add(one)
    heads = [-1] * items
    left = set(range(items))
    while any(neighbours[item] & left for item in left):
        start = min(item for item in left if neighbours[item] & left)
        component, frontier = {start}, [start]
        while frontier:
            new = neighbours[frontier.pop()] & left - component
            component |= new
            frontier += new
        head = min(component, key=lambda item: (-len(neighbours[item] & component), item))
        linked = neighbours[head] & component
        further = {two for one in linked for two in neighbours[one] & component} - linked - {head}
        group = {head} | linked | {item for item in further if like(np.array([head]), np.array([item]))[0]}
        for item in group:
            heads[item] = head
        left -= group
    return heads


def like(first: Ints, second: Ints) -> npt.NDArray[np.bool_]:
    return np.asarray((first * 7 + second * 13) % 3 == 0)


@settings(max_examples=200, deadline=None)
@given(items=st.integers(2, 30), count=st.integers(0, 60), seed=st.integers(0, 2**32 - 1))
def test_all_at_once_is_the_same_as_one_after_the_other(items: int, count: int, seed: int) -> None:
    links = np.sort(np.random.default_rng(seed).integers(0, items, (count, 2)), axis=1)
    links = np.unique(links[links[:, 0] != links[:, 1]], axis=0)
    assert group_heads(items, links, like).tolist() == one_after_the_other(items, links)


def test_a_long_chain_is_cut_into_threes() -> None:
    links = np.stack([np.arange(299), np.arange(1, 300)], axis=1)
    heads = group_heads(300, links, never)
    assert (heads >= 0).all()
    assert np.abs(heads - np.arange(300)).max() == 1
