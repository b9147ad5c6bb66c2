"""Invented artists and titles, so that the demo looks like music and not like a database.

Each mood has its own words. So a person can see in a list of titles whether a recommendation keeps the mood. Surnames are
invented, so no artist here has the name of a real person.

About 3,200 titles and 800 artists are unique. Beyond that, names are repeated with a number: "Neon Taxi (Part 2)".
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

_MOODS = (
    (
        ("Midnight", "Neon", "Electric", "Afterhours", "Violet"),
        ("Escalator", "Signal", "Skyline", "Taxi", "Arcade", "Billboard"),
    ),
    (("Golden", "Summer", "Lazy", "Barefoot", "Honey"), ("Afternoon", "Orchard", "Lemonade", "Porch", "Meadow", "Bicycle")),
    (("Slow", "Silver", "Drifting", "Quiet", "Grey"), ("Rain", "Harbour", "Window", "Tide", "Lantern", "Ferry")),
    (("Wild", "Broken", "Burning", "Loud", "Reckless"), ("Engine", "Thunder", "Highway", "Riot", "Amplifier", "Fuse")),
    (("Velvet", "Crimson", "Tender", "Secret", "Scarlet"), ("Letter", "Waltz", "Kiss", "Perfume", "Rose", "Ribbon")),
    (("Frozen", "Northern", "Winter", "Pale", "Icy"), ("Fjord", "Aurora", "Birch", "Snowfield", "Compass", "Sleigh")),
    (("Dusty", "Lonesome", "Wooden", "Faded", "Rusty"), ("Road", "Prairie", "Banjo", "Freight Train", "Saddle", "Barn")),
    (("Cosmic", "Weightless", "Lunar", "Distant", "Starlit"), ("Orbit", "Nebula", "Satellite", "Comet", "Gravity", "Eclipse")),
    (("Morning", "Gentle", "Paper", "Little", "Cotton"), ("Coffee", "Sparrow", "Balcony", "Teacup", "Postcard", "Kettle")),
    (("Sacred", "Hollow", "Ancient", "Solemn", "Marble"), ("Cathedral", "Choir", "Candle", "Bell", "Stone", "Cloister")),
    (("Tropical", "Sunlit", "Coral", "Salty", "Turquoise"), ("Lagoon", "Hammock", "Mango", "Breeze", "Island", "Surf")),
    (("Restless", "Concrete", "Chrome", "Underground", "Iron"), ("Rhythm", "Bassline", "Subway", "Mirror", "Pulse", "Machine")),
)
_SHORT = (
    *("{q} {t}", "{t} Hearts", "Waiting for the {t}", "Under the {t}", "Goodbye, {t}", "One More {t}", "Ask the {t}"),
    *("Back to the {t}", "Beyond the {t}", "Not Your {t}", "{t} in Blue"),
)
_LONG = ("My {q} {t}", "{q} {t} Blues", "No More {q} {t}", "{q} {t} at Dawn", "Another {q} {t}", "{q} {t} for Two")
"""Forms of titles, with a quality and a thing of a mood. The short ones are used first."""
_GIVEN = ("Mira", "Odin", "Juno", "Ezra", "Lila", "Silas", "Noor", "Ivo", "Tamsin", "Rafa", "Saskia", "Anouk", "Dario", "Wren")
_SURNAMES = (
    *("Vantolo", "Marravec", "Ostrande", "Belloway", "Finnisque", "Cassoray", "Thistlemere", "Quillander", "Harrowyn"),
    *("Zellamar", "Orravane", "Duskerley", "Plumworth", "Kestravel"),
)
_ADJECTIVES = ("Paper", "Hidden", "Amber", "Wandering", "Gentle", "Copper", "Honest", "Distant", "Sleepless", "Borrowed")
_NOUNS = ("Falcon", "Lighthouse", "Garden", "Telescope", "River", "Carousel", "Parade", "Cousin", "Orchid", "Umbrella")
_BANDS = ("The {0} {1}s", "{0} {1} Club", "{0} {1} Theory", "{0} {1} and the Echoes", "Hotel {0} {1}", "{0} {1} Society")


def artist_names(count: int, rng: np.random.Generator) -> list[str]:
    """Return different names of `count` artists. People and bands are about equally frequent until people's names run out."""
    people = _shuffled([f"{given} {surname}" for given, surname in product(_GIVEN, _SURNAMES)], rng)
    bands = _shuffled([form.format(*pair) for form in _BANDS for pair in product(_ADJECTIVES, _NOUNS)], rng)
    pairs = [name for both in zip(people, bands, strict=False) for name in both]
    return _take([*pairs, *bands[len(people) :]], count)


def track_titles(moods: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator) -> list[str]:
    """Return different titles, one for each track, in the words of its mood."""
    titles = np.full(len(moods), "", dtype=object)
    for number, words in enumerate(_MOODS):
        short, long = ([form.format(q=q, t=t) for form in forms for q, t in product(*words)] for forms in (_SHORT, _LONG))
        members = np.flatnonzero(moods % len(_MOODS) == number)
        titles[members] = _take([*_shuffled(short, rng), *_shuffled(long, rng)], len(members))
    return [str(title) for title in titles]


def _shuffled(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Return the distinct names among `names`, in random order."""
    different = list(dict.fromkeys(names))
    return [different[place] for place in rng.permutation(len(different))]


def _take(names: Sequence[str], count: int) -> list[str]:
    """Return the first `count` names in order. After the end of the list, names are repeated with a number."""
    turns = [divmod(index, len(names)) for index in range(count)]
    return [names[place] + (f" (Part {turn + 1})" if turn else "") for turn, place in turns]
