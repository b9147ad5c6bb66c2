"""The copy head scores the tracks of a listener's long history by how often, and after which tracks, they were played before.

Four of five kept plays repeat a track, and people repeat sequences of tracks. A network of item vectors reads the newest 50
entries and would have to memorise each listener's habits. The copy head looks them up. It replaces the scores of the listener's
own tracks, and the other tracks keep the network's score s:

    score(i) = ( gate(case) + f(x(i)) - log sum over own j of exp f(x(j)) ) / T + share * s(i)      i in the long history
    score(i) = s(i)                                                                                all other i

So the softmax of T * score is a mixture, P = (1 - g) P_network + g P_copy. P_network is the network's softmax over tracks that
the listener has not heard; the temperature T corrects a network that is too confident. P_copy is a softmax over the own tracks.
g is their share of the sum. One cross-entropy trains both parts, and the graph need not compute the network's normaliser.
`shift` is subtracted from the gate: a positive value prefers new tracks. s is 0 for an own track without a row.

f is a linear function of x plus a small feed-forward layer. x(i) are features of a track. Most of them are sums over the
track's entries e in the long history, as log(1 + 10 sum). The predecessors of e are the kept entries before it. The context is
the newest kept entries:

    the last one, two and three predecessors equal the context      for kept e; the first also for refused e, and for recent e
    e is the newest entry after the last context track
    evidence of the nine newest distinct kept tracks                for kept and for refused e, see below
    kept, fading within 20, 100, 500 plays, 1 and 14 days           and refused, fading within 20 and 500 plays
    kept in this session; entries
    1,000 times the probability that e comes next                   for kept and for refused e, see `model.nets.following`

The other features describe the track's newest entry: the log of its age in plays and in hours, and whether it was refused,
belongs to this session, is the very last, and has a row.

The evidence is computed as in `training.evaluation.own_history`, but ignores sessions, so it is a convolution. Each kept place
gets the weight of its track's lag among the nine newest distinct kept tracks, or 0 for other tracks. Then evidence(e) = sum
over d of k(d) weight(e - d), with k(d) = d^-.55 for d from 1 to 15 and .65 |d|^-.5 for d from -15 to -1.

The gate reads the total evidence (log sum exp f), how often the contexts of one, two and three tracks occurred, the number of
own tracks, and the share of the newest 20 entries whose tracks have several plays. Neither the gate nor f reads the network's
state. The network memorises the states of its training part, and a head that reads them becomes far too confident
(`docs/measurements/copy-head.md`).

Cost: about 60 passes over the entries, one scatter of 19 sums, and a feed-forward layer for each track. 750 weights.

Shapes: B batch, L places of the long history, M tracks of all listeners of a batch, C sums, F features of a track, G features
of a case, R newest kept plays, H matched tracks, K places around a match, V rows, W rows and request-local rows.
"""

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.blocks import is_refused
from model.nets.following import next_places
from model.vocabulary import PADDING

CONTEXT, HABIT = 3, 20
REACH, RECENT, AROUND = 9, 32, 15
"""Number of distinct tracks that are matched, of kept plays that are searched for them, and of places on each side of a
match.
"""
LATER, LATER_FADE = 0.72, 3.0
AFTER, BEFORE, BEFORE_FADE = 0.55, 0.65, 0.5
SUMS, NEWEST, CASE, HIDDEN = 19, 6, 6, 16
ENTRIES = 16
"""The place of the number of entries among the sums."""
OWN, OWN_SCALE = 4, 7.0
"""The feature of a case that has the number of own tracks n, as log(1 + n) / OWN_SCALE."""
NOTHING = -1e4
"""The score of a place that stands for no track."""


class CopyHead(nn.Module):
    """Scores a listener's own tracks from long histories of at most `length` plays. `rows` is the number of rows of the
    vocabulary.
    """

    shift: Tensor
    temperature: Tensor

    def __init__(self, rows: int, length: int) -> None:
        super().__init__()
        self.rows, self.length = rows, length
        self.linear = nn.Linear(SUMS + NEWEST, 1, bias=False)
        self.hidden = nn.Linear(SUMS + NEWEST, HIDDEN)
        self.out = nn.Linear(HIDDEN, 1, bias=False)
        self.gate = nn.Linear(CASE, 1)
        self.share = nn.Parameter(torch.tensor(0.1))
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("temperature", torch.tensor(1.0))
        start_F = torch.zeros(SUMS + NEWEST)
        start_F[[0, 6, 10]] = torch.tensor([0.6, 0.9, 0.3])  # followers, evidence, counts
        with torch.no_grad():
            self.linear.weight.copy_(start_F[None])
            self.out.weight.zero_()
            self.gate.weight.zero_()

    @torch.no_grad()
    def start_from_network(self) -> None:
        """Set the weights with which every track keeps nearly the network's score: f = 0, share 1, and the gate log(n + 1) for
        n own tracks.
        """
        for weights in (self.linear.weight, self.out.weight, self.gate.weight, self.gate.bias):
            weights.zero_()
        self.gate.weight[0, OWN] = OWN_SCALE
        self.share.fill_(1.0)

    def forward(self, own: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return the rows of the listener's own tracks, and their scores without the term share * s(i), `[B, L]` each.

        `own` are the fields of `model.long_history.LongHistories`. Each track is at the place of its newest play. All other
        places have the row of padding and the score `NOTHING`.
        """
        stands_BL = stands(own[0], own[4])
        features_MF, case_BG = self.features(own)
        logit_BL = torch.full_like(own[0], NOTHING, dtype=features_MF.dtype)
        places_M = stands_BL.flatten().nonzero().squeeze(1)
        logit_BL = logit_BL.flatten().scatter(0, places_M, self.rate(features_MF)).view_as(logit_BL)
        score_BL = self.weigh(logit_BL, case_BG, stands_BL) / self.temperature
        return torch.where(stands_BL, own[0], PADDING), score_BL

    def rate(self, features_MF: Tensor) -> Tensor:
        """Compute f from the features of tracks, of any leading shape."""
        rated_M1: Tensor = self.linear(features_MF) + self.out(functional.gelu(self.hidden(features_MF)))
        return rated_M1.squeeze(-1)

    def weigh(self, logit_BL: Tensor, case_BG: Tensor, stands_BL: Tensor) -> Tensor:
        """Compute the score gate + f - log sum exp f at each place from f, `[B, L]`, and the features of each case.

        `stands_BL` says which places represent a track.
        """
        logit_BL = torch.where(stands_BL, logit_BL, NOTHING)
        total_B1 = torch.logsumexp(logit_BL, dim=1, keepdim=True)
        gate_B1 = self.gate(torch.cat([case_BG, total_B1.clamp(min=-10) / 10], dim=1)) - self.shift
        return torch.where(stands_BL, gate_B1 + logit_BL - total_B1, NOTHING)

    def mix(self, scores_BV: Tensor, rows_BL: Tensor, own_BL: Tensor) -> Tensor:
        """Replace the network's scores of own tracks by the head's, `[B, V]` -> `[B, W]`. The last W - V columns are those of
        request-local rows.
        """
        known_BL = rows_BL < scores_BV.shape[1]
        network_BL = torch.where(known_BL, scores_BV.gather(1, torch.where(known_BL, rows_BL, PADDING)), 0.0)
        beyond = max(0, int(rows_BL.max()) + 1 - scores_BV.shape[1])
        scores_BW = functional.pad(scores_BV, (0, beyond), value=-torch.inf)
        return scores_BW.scatter(1, rows_BL, self.share * network_BL + own_BL)

    def features(self, own: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Compute the features of the tracks of all listeners, `[M, F]`, and the features of each case, `[B, G - 1]`.

        The tracks are those of the places that `stands` names, in the order of these places.
        """
        tracks_BL, outcomes_BL, ages_BL, session_BL, newest_BL = own
        width = tracks_BL.shape[1]
        place_L = torch.arange(width, device=tracks_BL.device)
        behind_L = (width - 1 - place_L).float()
        held_BL = tracks_BL != PADDING
        stands_BL = stands(tracks_BL, newest_BL)
        refused_BL = is_refused(outcomes_BL)
        kept_BL = held_BL & ~refused_BL
        kept, refused, session = kept_BL.float(), refused_BL.float(), session_BL.float()
        soon_L, later_L, late_L = (torch.exp(behind_L * (-log(2) / plays)) for plays in (20.0, 100.0, 500.0))
        day_BL, fortnight_BL = (torch.exp(ages_BL.float() * (-log(2) / (1440.0 * days))) for days in (1.0, 14.0))
        recent_BR, met_BCL = _context(newest_BL, held_BL, kept_BL)
        one, two, three = met_BCL.float().unbind(1)
        newest_match_BL = met_BCL[:, 0] & (place_L == torch.where(met_BCL[:, 0], place_L, -1).amax(1, keepdim=True))
        near_BL = _evidence(newest_BL, kept, recent_BR)
        said = [one * kept, two * kept, three * kept, one * refused, one * kept * later_L, newest_match_BL.float()]
        said += [near_BL * kept, near_BL * refused, kept * soon_L, kept * later_L, kept * late_L, refused * soon_L]
        said += [refused * late_L, kept * session, kept * day_BL, kept * fortnight_BL, held_BL.float()]
        followed_BL = 1000 * next_places(newest_BL, kept_BL, refused_BL, ages_BL)
        said += [followed_BL * kept, followed_BL * refused]
        said_BCL = torch.stack(said, dim=1)
        sums_BCL = torch.zeros_like(said_BCL).scatter_add(2, newest_BL[:, None].expand_as(said_BCL), said_BCL)
        # Only one place of each track is needed from here on, some 600 of 1,000.
        at_M = stands_BL.flatten().nonzero().squeeze(1)
        newest = (tracks_BL, ages_BL, behind_L.expand_as(kept), refused, session)
        track_M, age_M, behind_M, refused_M, session_M = (value.flatten().index_select(0, at_M) for value in newest)
        said_M = [torch.log1p(behind_M) / 3, torch.log1p(age_M / 60) / 3, refused_M, session_M]
        said_M += [(behind_M == 0).float(), (track_M < self.rows).float()]
        sums_MC = sums_BCL.transpose(1, 2).flatten(0, 1).index_select(0, at_M)
        features_MF = torch.cat([torch.log1p(10 * sums_MC), torch.stack(said_M, dim=1)], dim=1)
        several_BL = sums_BCL[:, ENTRIES].gather(1, newest_BL) > 1
        habit_B1 = (several_BL & (behind_L < HABIT)).float().sum(1, keepdim=True) / HABIT
        own_B1 = torch.log1p(stands_BL.float().sum(1, keepdim=True)) / OWN_SCALE
        return features_MF, torch.cat([torch.log1p(met_BCL.float().sum(2)), habit_B1, own_B1], dim=1)


def stands(tracks_BL: Tensor, newest_BL: Tensor) -> Tensor:
    """Return which places represent a track, bool `[B, L]`: the place of each track's newest play."""
    return (newest_BL == torch.arange(tracks_BL.shape[1], device=tracks_BL.device)) & (tracks_BL != PADDING)


def _context(newest_BL: Tensor, held_BL: Tensor, kept_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Return the newest kept tracks, and the places at which they occurred before in the same order.

    The first result is the `RECENT` newest kept tracks `[B, R]`, newest first, each as the place of its newest play plus 1, or
    0 for none. The second is bool `[B, CONTEXT, L]`: the last one, two and three predecessors of a place equal the newest kept
    tracks.
    """
    width = newest_BL.shape[1]
    count_BL = kept_BL.to(torch.int64).cumsum(1)
    before_BL = count_BL - kept_BL.to(torch.int64)
    # Kept tracks in order, after CONTEXT zeros. Refused tracks are written to one further place, which is never read.
    order_BP = newest_BL.new_zeros(newest_BL.shape[0], CONTEXT + width + 1)
    order_BP = order_BP.scatter(1, torch.where(kept_BL, before_BL + CONTEXT, CONTEXT + width), newest_BL + 1)
    back_R = torch.arange(1, RECENT + 1, device=newest_BL.device)
    recent_BR = order_BP.gather(1, (count_BL[:, -1:] + CONTEXT - back_R).clamp(min=0))
    alike_BL = held_BL
    found = []
    for back in range(1, CONTEXT + 1):
        newest_B1 = recent_BR[:, back - 1 : back]
        alike_BL = alike_BL & (order_BP.gather(1, before_BL + CONTEXT - back) == newest_B1) & (newest_B1 != 0)
        found.append(alike_BL)
    return recent_BR, torch.stack(found, dim=1)


def _evidence(newest_BL: Tensor, kept: Tensor, recent_BR: Tensor) -> Tensor:
    """Compute for each place how much the nine newest distinct kept tracks speak for it, `[B, L]`: the evidence(e) of the
    module.
    """
    place_R = torch.arange(RECENT, device=recent_BR.device)
    again_BR = ((recent_BR[:, :, None] == recent_BR[:, None, :]) & (place_R < place_R[:, None])).any(2)
    found_BH, at_BH = torch.where((recent_BR != 0) & ~again_BR, -place_R, -RECENT).topk(REACH)
    tracks_BH = torch.where(found_BH > -RECENT, recent_BR.gather(1, at_BH), 0)
    lag_H = torch.arange(REACH, device=recent_BR.device)
    match_H = torch.where(lag_H == 0, 1.0, LATER * torch.exp(-(lag_H - 1) / LATER_FADE))
    # The weight of each track is written to the place of its newest play, one further, and read there for all of its plays.
    weight_BP = torch.zeros_like(functional.pad(kept, (1, 0))).scatter(1, tracks_BH, match_H.expand_as(tracks_BH))
    weight_BL = weight_BP.gather(1, newest_BL + 1) * kept
    away_K = torch.arange(AROUND, -AROUND - 1, -1, device=recent_BR.device)  # torch's convolution does not flip its kernel
    far_K = away_K.abs().clamp(min=1).float()
    near_K = torch.where(away_K > 0, far_K**-AFTER, torch.where(away_K < 0, BEFORE * far_K**-BEFORE_FADE, 0.0))
    return functional.conv1d(weight_BL[:, None], near_K[None, None], padding=AROUND)[:, 0]
