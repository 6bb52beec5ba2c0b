"""Roots down to channels: what two values share."""

from torchtangents.covariance.roots import Part, Roots


class Layer:
    layer = "a layer"


A, B = Layer(), Layer()


def test_whole_layers_meet_as_sets_do():
    assert Roots([A, "data"]) & Roots([A, B]) == {A}
    assert Roots([A]).isdisjoint(Roots([B]))
    assert frozenset([A]) & Roots([A]) == {A}


def test_parts_meet_where_they_share_a_channel():
    whole = Roots([A, B])
    first, second, other = whole.some((0, 1)), whole.some((2, 3)), whole.some((1, 2))
    assert first == {Part(A, (0, 1)), Part(B, (0, 1))}
    assert first.isdisjoint(second)
    assert not first.isdisjoint(other)
    assert frozenset([A]) & first
    assert first & frozenset([B])
    assert not Roots([A]).some((0,)) & Roots([B]).some((0,))
    assert {r.layer for r in first} == {"a layer"}


def test_parts_of_parts():
    assert Roots([A]).some((4, 2, 0)).some((2, 1)) == {Part(A, (0, 2))}


def test_unions_stay_roots():
    both = Roots([A]).some((0,)).union(Roots([B]))
    assert isinstance(both, Roots)
    assert not both.isdisjoint([B])
