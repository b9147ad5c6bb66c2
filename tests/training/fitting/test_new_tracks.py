"""New tracks have the mean vector and a low bias of their artist's trained tracks. Everything else stays as it is."""

import pytest
import torch
from torch import Tensor

from model.catalogue import Catalogue
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.copy_head import CopyHead
from model.nets.network import Network
from model.vocabulary import FIRST
from training.data.catalogue import numbers_of
from training.fitting.new_tracks import add_new_tracks

TRAINED = 7
ARTISTS = ("ann", "bob", "ann", None, "ann", "bob", None)
ALBUMS = ("one", "two", "one", "three", "one", "two", None)


def _catalogue(artists: tuple[str | None, ...], albums: tuple[str | None, ...] = ()) -> Catalogue:
    return Catalogue(titles=[None] * len(artists), artists=artists, durations_ms=[None] * len(artists), albums=albums)


def _network(**settings: object) -> Network:
    torch.manual_seed(0)
    config = NetworkConfig(**{"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, **settings})  # type: ignore[arg-type] # settings of a test
    artists = torch.cat([torch.zeros(FIRST, dtype=torch.int64), numbers_of(ARTISTS)])
    network = build(config, TRAINED + FIRST, 5, artists)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    return network.eval()


def _scores(network: Network, rows: list[int]) -> Tensor:
    """Score all items after a history of `rows`."""
    with torch.no_grad():
        tracks_BT = torch.tensor([rows])
        return network.all_scores(network.query(tracks_BT, torch.ones_like(tracks_BT)), network.item_matrix())[0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"artist_transition": 4, "gaps": True, "outcome_scaling": True, "positions": "distance", "wanted_head": True},
        {"kind": "cloze"},
        {"artists": False},
        {"kind": "sine"},
    ],
)
def test_new_tracks_have_the_vectors_of_their_artist(settings: dict[str, object]) -> None:
    """Ann's trained tracks have the rows 2, 4 and 6, and Bob's 3 and 7. Of so few biases the lowest one counts. Other rows stay
    exactly as they are, and so do their scores but for rounding.
    """
    network = _network(**settings)
    network.merge_artist_embeddings()
    before, scores_V = {name: table.detach().clone() for name, table in network.row_tables().items()}, _scores(network, [2, 3])
    add_new_tracks(network, _catalogue((*ARTISTS, "ann", "bob")))
    tables = network.row_tables()

    assert network.rows == TRAINED + 2 + FIRST
    assert torch.allclose(_scores(network, [2, 3])[: len(scores_V)], scores_V, atol=1e-5)
    assert {"track.weight", "bias"} <= tables.keys() == before.keys()
    for name, table in tables.items():
        assert len(table) == network.rows
        assert torch.equal(table[: len(before[name])], before[name])
        for row, near in ((9, [2, 4, 6]), (10, [3, 7])):
            assert torch.allclose(table[row], table[near].min() if table.dim() == 1 else table[near].mean(0), atol=1e-6)


def test_the_bias_of_a_new_track_is_a_low_quantile() -> None:
    """Of five biases, the quantile .5 is the third, .3 is rounded down to the second, and .1 to the first."""
    found = []
    for low in (0.5, 0.3, 0.1):
        network = _network()
        with torch.no_grad():
            network.get_parameter("bias")[FIRST:] = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 0.0, 9.0])
        add_new_tracks(network, _catalogue(("ann",) * 5 + (None, "bob", "ann")), low=low)
        found.append(network.get_parameter("bias")[-1].item())

    assert found == [3.0, 2.0, 1.0]


def test_tracks_without_a_known_artist_take_their_album_or_all_tracks() -> None:
    """The album counts if the artist is missing or has no trained track, but not before the artist."""
    network = _network()
    new = (("ann", "two"), (None, "two"), ("stranger", "three"), (None, None), ("stranger", "unheard"))
    add_new_tracks(network, _catalogue((*ARTISTS, *(artist for artist, _ in new)), (*ALBUMS, *(album for _, album in new))))
    vectors, biases = network.row_tables()["track.weight"].detach(), network.row_tables()["bias"].detach()
    near = [[2, 4, 6], [3, 7], [5], list(range(FIRST, FIRST + TRAINED)), list(range(FIRST, FIRST + TRAINED))]

    for place, rows in enumerate(near):
        assert torch.allclose(vectors[FIRST + TRAINED + place], vectors[rows].mean(0), atol=1e-6)
        assert biases[FIRST + TRAINED + place] == biases[rows].min()


def test_a_network_that_knows_all_tracks_is_not_changed() -> None:
    """A second call adds nothing either."""
    network = _network()
    before = dict(network.named_parameters())
    add_new_tracks(network, _catalogue(ARTISTS))

    assert all(parameter is before[name] for name, parameter in network.named_parameters())


def test_a_copy_head_takes_new_tracks_for_known() -> None:
    """Its rows are those of the network. Rows after the last one are the listener's own unknown tracks."""
    network = _network()
    network.copy_head = CopyHead(network.rows, 20)
    add_new_tracks(network, _catalogue((*ARTISTS, "ann")))

    assert network.copy_head.rows == network.rows == TRAINED + FIRST + 1


def test_new_tracks_are_read_in_histories() -> None:
    """The score after a new track is that after a track with the same vector."""
    network = _network(artists=False)
    add_new_tracks(network, _catalogue(("ann", None, *(["bob"] * 5), "ann")))

    assert torch.equal(_scores(network, [FIRST]), _scores(network, [FIRST + TRAINED]))
