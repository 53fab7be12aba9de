"""Words for what OSM tags say: what may stand in the name of a kind of place.

Only what gives a place its character has words. What is gone (`railway=abandoned`), planned, or
street furniture has none, so it can name nothing.
"""

from collections.abc import Iterator, Mapping

ANY = "*"  # every value of a key that has no words of its own

WORDS: Mapping[str, Mapping[str, str]] = {
    "amenity": {
        "restaurant": "restaurants",
        "cafe": "cafés",
        "bar": "bars",
        "pub": "bars",
        "fast_food": "restaurants",
        "school": "schools",
        "kindergarten": "schools",
        "university": "universities",
        "college": "universities",
        "hospital": "hospitals",
        "place_of_worship": "places of worship",
        "theatre": "theatres",
        "marketplace": "markets",
        "fuel": "filling stations",
        "grave_yard": "graveyards",
    },
    "building": {
        "apartments": "blocks of flats",
        "residential": "blocks of flats",
        "house": "houses",
        "detached": "houses",
        "semidetached_house": "houses",
        "terrace": "terraced houses",
        "industrial": "factories",
        "warehouse": "warehouses",
        "retail": "shops",
        "commercial": "offices",
        "office": "offices",
        "farm": "farms",
        "farm_auxiliary": "farms",
        "barn": "farms",
        "greenhouse": "greenhouses",
        "garage": "garages",
        "garages": "garages",
        "pier": "piers",
    },
    "highway": {
        "motorway": "motorways",
        "trunk": "motorways",
        "primary": "main streets",
        "secondary": "main streets",
        "tertiary": "through streets",
        "residential": "residential streets",
        "living_street": "residential streets",
        "pedestrian": "pedestrian streets",
        "track": "tracks",
        "steps": "steps",
        "cycleway": "cycleways",
        "trail": "trails",
    },
    "landuse": {
        "industrial": "industry",
        "commercial": "offices",
        "retail": "shops",
        "farmland": "fields",
        "meadow": "meadows",
        "orchard": "orchards",
        "vineyard": "vineyards",
        "forest": "woods",
        "allotments": "allotments",
        "cemetery": "graveyards",
        "quarry": "quarries",
        "military": "military ground",
        "construction": "building sites",
        "farmyard": "farms",
    },
    "leisure": {
        "park": "parks",
        "garden": "gardens",
        "pitch": "playing fields",
        "playground": "playgrounds",
        "sports_centre": "sports grounds",
        "stadium": "stadiums",
        "golf_course": "golf courses",
        "marina": "marinas",
        "swimming_pool": "pools",
        "nature_reserve": "nature reserves",
    },
    "man_made": {"pier": "piers", "works": "factories", "breakwater": "piers"},
    "natural": {
        "water": "water",
        "coastline": "the shore",
        "beach": "beaches",
        "wood": "woods",
        "scrub": "scrub",
        "grassland": "meadows",
        "wetland": "wetland",
        "bare_rock": "rock",
        "cliff": "cliffs",
        "peak": "peaks",
        "glacier": "ice",
    },
    "office": {ANY: "offices"},
    "railway": {
        "rail": "railways",
        "station": "stations",
        "halt": "stations",
        "tram": "trams",
        "subway_entrance": "an underground railway",
    },
    "shop": {ANY: "shops"},
    "tourism": {
        "hotel": "hotels",
        "guest_house": "hotels",
        "museum": "museums",
        "attraction": "sights",
        "viewpoint": "viewpoints",
        "camp_site": "camp sites",
    },
    "waterway": {"river": "rivers", "canal": "canals", "stream": "streams"},
}
HIDDEN = ("tunnel", "location")  # keys of what lies under the ground
KEYS = (*WORDS, *HIDDEN)


def words_of(tags: Mapping[str, str]) -> Iterator[str]:
    """Yield the words for the tags of an object, each once; what lies under the ground has none.

    >>> list(words_of({"shop": "bakery", "railway": "abandoned"}))
    ['shops']
    """
    if tags.get("tunnel", "no") != "no" or tags.get("location") == "underground":
        return
    found = (words.get(tags[key], words.get(ANY)) for key, words in WORDS.items() if key in tags)
    yield from dict.fromkeys(word for word in found if word is not None)
