"""Words for tags: what may name a kind of place, and what may not."""

import pytest

from tiling.osm.words import HIDDEN, KEYS, WORDS, words_of


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"shop": "bakery"}, ["shops"]),
        ({"office": "company", "building": "office"}, ["offices"]),
        ({"amenity": "cafe", "tourism": "hotel"}, ["cafés", "hotels"]),
        ({"natural": "coastline"}, ["the shore"]),
        ({"railway": "abandoned"}, []),
        ({"railway": "disused", "highway": "proposed", "landuse": "greenfield"}, []),
        ({"highway": "give_way", "amenity": "bench", "building": "yes"}, []),
        ({"railway": "rail", "tunnel": "yes"}, []),
        ({"railway": "rail", "tunnel": "no"}, ["railways"]),
        ({"shop": "clothes", "location": "underground"}, []),
        ({"name": "Rail"}, []),
        ({}, []),
    ],
)
def test_words_of_tags(tags: dict[str, str], words: list[str]) -> None:
    assert list(words_of(tags)) == words


def test_no_word_is_a_tag_and_each_key_has_some() -> None:
    said = {word for values in WORDS.values() for word in values.values()}
    assert not [word for word in said if "=" in word or "_" in word]
    assert set(KEYS) == {*WORDS, *HIDDEN}
    assert all(WORDS.values())
