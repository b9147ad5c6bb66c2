"""The copy head's features and scores agree with values by hand and with loops over all plays."""

from math import exp, log, log1p

import numpy as np
import pytest
import torch
from torch import Tensor

from model.events import Outcome
from model.long_history import LongHistories, Plays, encode_long, join
from model.nets.copy_head import NEWEST, NOTHING, SUMS, CopyHead
from model.vocabulary import FIRST, UNKNOWN
from tests.model.nets.test_following import followed_by_hand

P, S = Outcome.PLAYED, Outcome.SKIPPED
ROWS = FIRST + 6
KNOWN = 6
"""Tracks 0 to 5 have rows, those above have none."""


def _own(
    tracks: list[int], outcomes: list[int], minutes: list[int], *, session: int = 2, now: int | None = None
) -> LongHistories:
    """Make the long history of plays. The last `session` plays belong to the current session."""
    count = len(tracks)
    plays = Plays(
        np.array(tracks),
        np.array([FIRST + track if track < KNOWN else UNKNOWN for track in tracks], np.int64),
        np.array(outcomes),
        np.array(minutes, np.int64) * 60_000,
        np.array([int(place >= count - session) for place in range(count)]),
    )
    asked_ms = np.array([(minutes[-1] if now is None else now) * 60_000])
    return encode_long(
        plays,
        np.zeros(1, np.int64),
        np.array([count]),
        asked_ms=asked_ms,
        going_on=np.ones(1, np.int64),
        size=ROWS,
        length=1000,
    )


def _tensors(own: LongHistories) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(field) for field in own)


def _by_hand(tracks: list[int], outcomes: list[int], minutes: list[int], session: int) -> dict[int, list[float]]:
    """Compute the features of each track by their definition, in the order of `CopyHead.features`."""
    count, now = len(tracks), minutes[-1]
    kept = [place for place in range(count) if outcomes[place] != S]
    order = [tracks[place] for place in kept]

    def met(place: int, context: int) -> bool:
        before = [tracks[one] for one in kept if one < place]
        return len(before) >= context and before[-context:] == order[-context:]

    followed = followed_by_hand(tracks, [place in kept for place in range(count)], minutes)
    newest = list(dict.fromkeys(order[::-1][:32]))[:9]
    matches = [place for place in range(count) if met(place, 1)]
    sums: dict[int, list[float]] = {track: [0.0] * SUMS for track in tracks}
    for place, track in enumerate(tracks):
        near = 0.0
        for other in kept:
            away = place - other
            if tracks[other] in newest and 0 < abs(away) <= 15:
                lag = newest.index(tracks[other])
                weight = 1 if lag == 0 else 0.72 * exp(-(lag - 1) / 3)
                near += weight * (away**-0.55 if away > 0 else 0.65 * (-away) ** -0.5)
        one, two, three = (float(met(place, context)) for context in (1, 2, 3))
        keep, refuse = float(place in kept), float(place not in kept)
        behind, age = count - 1 - place, now - minutes[place]
        soon, later, late = (0.5 ** (behind / plays) for plays in (20, 100, 500))
        said = [one * keep, two * keep, three * keep, one * refuse, one * keep * later, float(matches[-1:] == [place])]
        said += [near * keep, near * refuse, keep * soon, keep * later, keep * late, refuse * soon, refuse * late]
        said += [keep * (place >= count - session), keep * 0.5 ** (age / 1440), keep * 0.5 ** (age / 1440 / 14), 1.0]
        said += [1000 * keep * followed[place], 1000 * refuse * followed[place]]
        sums[track] = [total + more for total, more in zip(sums[track], said, strict=True)]
    features = {}
    for track, totals in sums.items():
        last = max(place for place in range(count) if tracks[place] == track)
        features[track] = [
            *(log1p(10 * total) for total in totals),
            log1p(count - 1 - last) / 3,
            log1p((now - minutes[last]) / 60) / 3,
            float(outcomes[last] == S),
            float(last >= count - session),
            float(last == count - 1),
            float(track < KNOWN),
        ]
    return features


def test_features_agree_with_the_definition() -> None:
    """The 30 random pasts have all lengths, repeated sequences, refused tracks, tracks without a row, and pauses."""
    random = np.random.default_rng(1)
    for _ in range(30):
        count, session = int(random.integers(1, 90)), int(random.integers(0, 5))
        tracks = random.integers(0, 9, count).tolist()
        if count > 30:  # an album that was heard twice
            tracks[-10:] = tracks[5:15]
        outcomes = random.choice([P, S], count, p=[0.7, 0.3]).tolist()
        minutes = np.cumsum(random.choice([3, 500], count, p=[0.9, 0.1])).tolist()
        own = _tensors(_own(tracks, outcomes, minutes, session=session))
        found, _ = CopyHead(ROWS, 1000).features(own)

        wanted = _by_hand(tracks, outcomes, minutes, session)
        by_newest_play = sorted(wanted, key=tracks[::-1].index, reverse=True)
        for features, track in zip(found.tolist(), by_newest_play, strict=True):
            assert features == pytest.approx(wanted[track], rel=1e-4, abs=1e-5)


def test_an_album_heard_before_goes_on() -> None:
    """After 0 1 2 for the second time, 3 has followed one, two and three of these tracks; no other track has followed two."""
    album = [0, 1, 2, 3, 5, 2, 4, 0, 1, 2]
    found, case = CopyHead(ROWS, 1000).features(_tensors(_own(album, [P] * 10, [3 * place for place in range(10)])))

    continued, reached = found[[0, 2], :3].tolist()  # of tracks 3 and 4, in the order of newest plays: 3 5 4 0 1 2

    assert (continued, reached) == (pytest.approx([log(11)] * 3), pytest.approx([log(11), 0, 0]))
    assert case[0, :3].tolist() == pytest.approx([log(3), log(2), log(2)])


def test_scores_of_own_tracks_are_the_gates_share_of_the_softmax() -> None:
    """Over own tracks, exp(T score) sums to exp(gate - shift), whatever the features are. A share of the network's score is
    added.
    """
    torch.manual_seed(0)
    head = CopyHead(ROWS, 1000)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    head.shift.fill_(0.5)
    head.temperature.fill_(0.25)
    own = _tensors(_own([0, 1, 7, 0, 8, 1], [P, S, P, P, P, P], [0, 3, 6, 9, 12, 15]))
    with torch.no_grad():
        rows, scores = head(own)
        features, case = head.features(own)
        logits = head.linear(features) + head.out(torch.nn.functional.gelu(head.hidden(features)))
        total = torch.logsumexp(logits, 0)
        gate = head.gate(torch.cat([case, total[None] / 10], dim=1))
        mixed = head.mix(torch.arange(ROWS)[None].float(), rows, scores)

    assert rows.tolist() == [[0, 0, ROWS + 1, FIRST, ROWS, FIRST + 1]]
    assert torch.logsumexp(scores * 0.25, 1).item() == pytest.approx(gate.item() - 0.5, rel=1e-4)
    assert mixed[0, FIRST].item() == pytest.approx(scores[0, 3].item() + head.share.item() * FIRST, rel=1e-5)
    assert mixed[0, ROWS + 1].item() == pytest.approx(scores[0, 2].item(), rel=1e-5)
    assert mixed[0, FIRST + 2 : ROWS].tolist() == list(range(FIRST + 2, ROWS))


def test_padding_and_other_listeners_change_nothing() -> None:
    """A past has the same scores alone and in a batch with a longer one. No listener gets another listener's tracks."""
    torch.manual_seed(0)
    head = CopyHead(ROWS, 1000)
    torch.nn.init.normal_(head.out.weight)
    short = _own([0, 7, 0], [P, S, P], [0, 3, 6])
    long = _own([1, 8, 9, 1, 8, 2, 1] * 9, [P, P, S, P, P, P, P] * 9, list(range(63)))
    with torch.no_grad():
        rows, alone = head(_tensors(short))
        rows_beside, beside = head(_tensors(join([long, short, None])))
        mixed = head.mix(torch.zeros(3, ROWS), rows_beside, beside)

    assert rows_beside[1, -3:].tolist() == rows[0].tolist()
    assert beside[1, -3:].tolist() == pytest.approx(alone[0].tolist(), rel=1e-5)
    assert (beside[1, :-3] == NOTHING).all()
    assert (beside[2] == NOTHING).all()
    assert torch.isinf(mixed[1, ROWS + 1])
    assert mixed[2, FIRST:ROWS].tolist() == [0] * (ROWS - FIRST)


def test_there_are_as_many_features_as_weights() -> None:
    """They are the sums and the features of the newest entry."""
    assert CopyHead(ROWS, 1000).linear.in_features == SUMS + NEWEST


def test_a_head_may_start_as_the_network() -> None:
    """Until it has learned, each own track keeps the network's score, up to log((n + 1) / n) for n own tracks."""
    head = CopyHead(ROWS, 1000)
    head.start_from_network()
    own = _tensors(_own([2, 3, 4, 3, 5, 2], [P] * 6, list(range(6))))
    scores = torch.randn(1, ROWS, generator=torch.Generator().manual_seed(0))

    mixed = head.mix(scores, *head(own))

    assert (mixed - scores)[0, 4:].tolist() == pytest.approx([float(np.log(5 / 4))] * 4, abs=1e-5)
    assert torch.equal(mixed[0, 1:4], scores[0, 1:4])
