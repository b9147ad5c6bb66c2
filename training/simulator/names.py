"""Made-up artists and titles, so that a demo reads like a record shop and not like a database.

Each mood has its own words, so that a person can see in a list of titles whether a recommendation keeps the mood.
"""

import numpy as np

_MOODS = (
    (("Midnight", "Neon", "Electric", "Afterhours"), ("Avenue", "Signal", "Skyline", "Taxi", "Arcade")),
    (("Golden", "Summer", "Lazy", "Barefoot"), ("Afternoon", "Orchard", "Lemonade", "Porch", "Meadow")),
    (("Slow", "Silver", "Drifting", "Quiet"), ("Rain", "Harbour", "Window", "Tide", "Lantern")),
    (("Wild", "Broken", "Burning", "Loud"), ("Engine", "Thunder", "Highway", "Riot", "Amplifier")),
    (("Velvet", "Crimson", "Tender", "Secret"), ("Letter", "Waltz", "Kiss", "Perfume", "Rose")),
    (("Frozen", "Northern", "Winter", "Pale"), ("Fjord", "Aurora", "Birch", "Snowfield", "Compass")),
    (("Dusty", "Lonesome", "Wooden", "Faded"), ("Road", "Prairie", "Banjo", "Freight Train", "Saddle")),
    (("Cosmic", "Weightless", "Lunar", "Distant"), ("Orbit", "Nebula", "Satellite", "Comet", "Gravity")),
    (("Morning", "Gentle", "Paper", "Little"), ("Coffee", "Sparrow", "Balcony", "Teacup", "Postcard")),
    (("Sacred", "Hollow", "Ancient", "Solemn"), ("Cathedral", "Choir", "Candle", "Bell", "Stone")),
    (("Tropical", "Sunlit", "Coral", "Salty"), ("Lagoon", "Hammock", "Mango", "Breeze", "Island")),
    (("Restless", "Concrete", "Chrome", "Underground"), ("Rhythm", "Bassline", "Subway", "Mirror", "Pulse")),
)
_TITLES = (
    "{0} {1}",
    "The {0} {1}",
    "{0} {1}, Part Two",
    "My {0} {1}",
    "{0} {1} Blues",
    "That {0} {1}",
    "Dear {0} {1}",
    "{1} Song",
    "Under the {1}",
    "Waiting for the {1}",
    "One More {1}",
    "{0} Again",
)
_FIRST = (
    "Mira",
    "Odin",
    "Juno",
    "Ezra",
    "Lila",
    "Silas",
    "Noor",
    "Ivo",
    "Tamsin",
    "Rafael",
    "Saskia",
    "Anouk",
    "Dario",
    "Wren",
)
_LAST = ("Vale", "Okafor", "Lindqvist", "Marlowe", "Castellan", "Ferreira", "Hollis", "Nakamura", "Bright", "Amari", "Sorrel")
_ADJECTIVES = ("Paper", "Hidden", "Amber", "Seven", "Wandering", "Blue", "Gentle", "Copper", "Last", "Honest", "Distant")
_NOUNS = ("Foxes", "Lighthouses", "Gardens", "Telescopes", "Rivers", "Sisters", "Machines", "Parades", "Cousins", "Oceans")


def artist_names(count: int, rng: np.random.Generator) -> list[str]:
    """Different names of `count` artists: people and bands."""
    people = [f"{first} {last}" for first in _FIRST for last in _LAST]
    bands = [f"The {adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS]
    return _spread(people + bands, count, rng)


def track_titles(moods: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator) -> list[str]:
    """A title for each track, in the words of its mood; different within a mood."""
    titles = np.full(len(moods), "", dtype=object)
    for mood in np.unique(moods):
        qualities, things = _MOODS[mood % len(_MOODS)]
        choice = list(
            dict.fromkeys(form.format(quality, thing) for form in _TITLES for quality in qualities for thing in things)
        )
        members = np.flatnonzero(moods == mood)
        titles[members] = _spread(choice, len(members), rng)
    return [str(title) for title in titles]


def _spread(names: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` names in random order; past the end of the list they come again with a number."""
    order = rng.permutation(len(names))
    rounds = [index // len(names) for index in range(count)]
    return [names[order[index % len(names)]] + (f" {turn + 1}" if turn else "") for index, turn in enumerate(rounds)]
