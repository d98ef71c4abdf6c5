"""Names to builders, and what a misspelling is answered."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl_course.registry import Registry, nearest


@pytest.fixture
def shapes():
    registry = Registry("shape")

    @registry.register("square")
    def square(side=1, *, label="none"):
        return side * side, label

    @registry.register("any")
    def anything(**options):
        return options

    return registry


def test_a_builder_is_built_from_its_name_or_a_configuration_with_further_arguments(shapes):
    assert shapes.build("square") == (1, "none")
    assert shapes.build({"name": "square", "side": 3}) == (9, "none")
    assert shapes.build({"name": "square", "side": 3}, side=2, label="x") == (4, "x")
    assert shapes.build("any", of="all", kinds=1) == {"of": "all", "kinds": 1}


def test_building_leaves_the_configuration_as_it_was(shapes):
    config = {"name": "square", "side": 3}
    shapes.build(config, side=2)
    assert config == {"name": "square", "side": 3}


def test_the_decorator_gives_the_builder_back_and_classes_are_builders_too(shapes):
    class Circle:
        def __init__(self, radius):
            self.radius = radius

    assert shapes.register("circle")(Circle) is Circle
    assert shapes.get("circle") is Circle
    assert shapes.build({"name": "circle", "radius": 2}).radius == 2


def test_a_registry_lists_its_names_in_order_and_shows_itself(shapes):
    assert list(shapes) == ["any", "square"] and len(shapes) == 2
    assert "square" in shapes and "circle" not in shapes and 3 not in shapes
    assert repr(shapes) == "2 shapes: any, square"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("sqare", "unknown shape 'sqare'; did you mean 'square'?"),
        ("zzz", "unknown shape 'zzz'; known: any, square"),
        ({"name": "square", "sid": 3}, "shape 'square' takes no 'sid'; did you mean 'side'?"),
        ({"side": 3}, "a shape configuration needs the key 'name'; given: ['side']"),
    ],
)
def test_a_wrong_configuration_is_refused_with_what_is_right(shapes, config, why):
    with pytest.raises(ValueError) as refused:
        shapes.build(config)
    assert str(refused.value) == why


def test_a_name_is_registered_once(shapes):
    with pytest.raises(ValueError, match="shape 'square' is registered already, as .*square"):
        shapes.register("square")


def test_two_registries_share_nothing(shapes):
    assert "square" not in Registry("shape")


@given(st.text(string.ascii_lowercase, min_size=4, max_size=12), st.integers(0, 11))
def test_a_name_with_one_letter_missing_finds_its_original(name, place):
    place = place % len(name)
    given_name = name[:place] + name[place + 1 :]
    assert nearest(given_name, [name, "_" * 20]) == f"; did you mean '{name}'?"


def test_where_nothing_is_near_the_names_are_listed_also_when_there_are_none():
    assert nearest("x", ["beta", "alpha"]) == "; known: alpha, beta"
    assert nearest("x", []) == "; known: none"


@pytest.mark.parametrize("name", [None, 3, ["a"], {"a": 1}])
def test_what_is_no_name_is_refused_like_an_unknown_one(name):
    things = Registry("thing")
    things.register("a")(dict)
    with pytest.raises(ValueError, match="unknown thing"):
        things.get(name)


def test_an_argument_that_a_builder_cannot_do_without_is_named():
    things = Registry("thing")
    things.register("square")(lambda side, colour="red": (side, colour))
    with pytest.raises(ValueError, match="thing 'square' needs 'side'"):
        things.build("square")
    assert things.build({"name": "square", "side": 3}) == (3, "red")
