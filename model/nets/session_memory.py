"""A memory of whole sessions beside a network: what stood near the tracks just heard in the sessions that resemble this one.

A network of few plays a track learns which tracks are alike and little more; what really followed is better looked up. So the
score of a track gets a second part, from tables instead of weights, which needs no training and can be filled anew at any time:

    score(i)    = network(i) + weight * log(1 + STEEP * share(i)),     share = evidence(i) / evidence of all tracks
    evidence(i) = heard(i) * sum over matches of strength * near(places from the match to i)
    strength    = ( sim(session) * lasting(session) ) ^ SHARP * match(lag), less that of the `MATCHES`th
    sim         = sum over the tracks that both have of exp(-lag / FADE) idf(track)^RARE
    lasting     = 1 / (distinct tracks^LENGTH (1 + days before the newest session ended)^AGE)
    match       = 1 for the last track of the history, else LATER exp(-(lag - 1) / LATER_FADE)
    near        = SELF for the matched track itself, places^-AFTER behind it, BEFORE places^-BEFORE_FADE before it

A *match* is a track of the history, one of the `REACH` newest distinct kept ones (lag 0 for the last), at its place in one of
the newest sessions that have it. It is the weighting of sequence-aware session-kNN (see `training.evaluation.session_knn`) with
other numbers and curves, but for three things: every match speaks, not only a session's newest; similar sessions weigh more
than in proportion; and no time of asking is known, so a session's age is counted from the newest one. The strength of the last
match that has a say is taken from all, so that which of two equal ones it is changes nothing. The numbers were chosen on the
validation part of #nowplaying.

The tables are integers, 12 bytes a remembered (session, track). A request makes one line of floats a session and one a row.

Shapes: B batch, T time, S sessions, P places of all sessions end to end, V rows, H read tracks of a history (`REACH`), R newest
sessions of a track, M = H R, K matches that have a say, W places around a match, N = K W.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.blocks import is_refused
from model.vocabulary import PADDING

REACH, AROUND, MATCHES = 9, 15, 150
FADE, RARE, SHARP, LENGTH, AGE = 20.0, 2.2, 1.5, 0.25, 0.2
LATER, LATER_FADE = 0.72, 3.0
SELF, AFTER, BEFORE, BEFORE_FADE = 1.0, 0.55, 0.65, 0.5
HEARD, HEARD_LAST = 0.2, 0.3
STEEP = 100.0


class Tables(NamedTuple):
    """Sessions, newest first, their distinct tracks end to end in the order in which each was heard last; one at least."""

    rows_P: Tensor
    sessions_P: Tensor  # the number of the session at each place
    starts_V: Tensor  # [V + 1]: the places with row v are `places_P[starts_V[v]:starts_V[v + 1]]`
    places_P: Tensor  # newest session first
    ages_S: Tensor  # days between a session's end and the newest one's, float


class SessionMemory(nn.Module):
    """The tables as buffers; `recent` sessions of each track are looked at, `weight` is what it counts beside the network."""

    rows: Tensor
    sessions: Tensor
    starts: Tensor
    places: Tensor
    lasting: Tensor
    weight: Tensor

    def __init__(self, tables: Tables, *, recent: int, weight: float = 0.0) -> None:
        super().__init__()
        self.recent = recent
        self.height = len(tables.starts_V) - 1
        lengths_S = torch.bincount(tables.sessions_P, minlength=len(tables.ages_S))
        beside = (AROUND, AROUND)  # places around a match may lie past either end
        buffers = {
            "rows": functional.pad(tables.rows_P, beside, value=PADDING).to(torch.int32),
            "sessions": functional.pad(tables.sessions_P, beside, value=-1).to(torch.int32),
            "starts": tables.starts_V.to(torch.int32),
            "places": (tables.places_P + AROUND).to(torch.int32),
            "lasting": (lengths_S**-LENGTH * (1 + tables.ages_S) ** -AGE).to(torch.float32),
            "weight": torch.tensor(weight),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)

    def forward(self, tracks_BT: Tensor, outcomes_BT: Tensor) -> tuple[Tensor, Tensor]:
        """What is remembered to a history: rows [B, N] and what each one's score gets more [B, N].

        A row that stands there several times has one number at all of its places; padding has none.
        """
        heard_BH = newest_distinct(tracks_BT, outcomes_BT)
        strength_BK, place_BK = self._matches(heard_BH)
        place_BKW = place_BK[..., None] + torch.arange(-AROUND, AROUND + 1)
        inside_BKW = self.sessions[place_BKW] == self.sessions[place_BK][..., None]
        rows_BN = torch.where(inside_BKW, self.rows[place_BKW], PADDING).flatten(1).long()
        said_BN = (strength_BK[..., None] * _near() * inside_BKW).flatten(1) * _heard(rows_BN, heard_BH)
        evidence_BV = torch.zeros(rows_BN.shape[0], self.height).scatter_add(1, rows_BN, said_BN)
        share_BN = evidence_BV.gather(1, rows_BN) / said_BN.sum(1, keepdim=True).clamp(min=torch.finfo(said_BN.dtype).tiny)
        return rows_BN, torch.where(rows_BN == PADDING, 0.0, self.weight * torch.log1p(STEEP * share_BN))

    def add(self, scores_BV: Tensor, tracks_BT: Tensor, outcomes_BT: Tensor) -> Tensor:
        """The network's scores of all rows with what is remembered added, [B, V]."""
        rows_BN, more_BN = self(tracks_BT, outcomes_BT)
        return scores_BV.scatter(1, rows_BN, scores_BV.gather(1, rows_BN) + more_BN)

    def _matches(self, heard_BH: Tensor) -> tuple[Tensor, Tensor]:
        """The matches that have a say: strength [B, K], place [B, K]. Strength is 0 where there are fewer."""
        lag_H = torch.arange(REACH)
        slot_R = torch.arange(self.recent)
        start_BH, stop_BH = self.starts[heard_BH], self.starts[heard_BH + 1]
        real_BHR = (slot_R < (stop_BH - start_BH)[..., None]) & (heard_BH != PADDING)[..., None]
        place_BM = self.places[torch.where(real_BHR, start_BH[..., None] + slot_R, 0)].flatten(1).long()
        session_BM = self.sessions[place_BM].long()
        rare_BH = torch.log(len(self.lasting) / (stop_BH - start_BH).clamp(min=1)) ** RARE
        weight_BH = torch.exp(-lag_H / FADE) * rare_BH
        weight_BM = (weight_BH[..., None] * real_BHR).flatten(1)
        shared_BS = torch.zeros(heard_BH.shape[0], len(self.lasting)).scatter_add(1, session_BM, weight_BM)
        likeness_BM = shared_BS.gather(1, session_BM) * self.lasting[session_BM]
        match_H = torch.where(lag_H == 0, 1.0, LATER * torch.exp(-(lag_H - 1) / LATER_FADE))
        strength_BM = likeness_BM**SHARP * (match_H[:, None] * real_BHR).flatten(1)
        strength_BK, best_BK = strength_BM.topk(min(MATCHES, REACH * self.recent))
        return strength_BK - strength_BK[:, -1:], place_BM.gather(1, best_BK)


def newest_distinct(tracks_BT: Tensor, outcomes_BT: Tensor) -> Tensor:
    """The `REACH` newest distinct kept rows of each history, newest first, `PADDING` where there are fewer, [B, H].

    A track heard twice stands where it was heard last.
    """
    tracks_BT, outcomes_BT = (functional.pad(array, (REACH, 0)) for array in (tracks_BT, outcomes_BT))
    kept_BT = (tracks_BT != PADDING) & ~is_refused(outcomes_BT)
    place_T = torch.arange(tracks_BT.shape[1])
    same_BTT = (tracks_BT[:, :, None] == tracks_BT[:, None, :]) & kept_BT[:, None, :] & (place_T > place_T[:, None])
    kept_BT = kept_BT & ~same_BTT.any(2)
    newest_BH, place_BH = torch.where(kept_BT, place_T, -1).topk(REACH)
    return torch.where(newest_BH < 0, PADDING, tracks_BT.gather(1, place_BH))


def _near() -> Tensor:
    """By how far a track stands behind the match, from -`AROUND` to `AROUND`, [W]."""
    away_W = torch.arange(-AROUND, AROUND + 1)
    apart_W = away_W.abs().clamp(min=1)
    return torch.where(away_W > 0, apart_W**-AFTER, torch.where(away_W < 0, BEFORE * apart_W**-BEFORE_FADE, SELF))


def _heard(rows_BN: Tensor, heard_BH: Tensor) -> Tensor:
    """`HEARD_LAST` for the last track of the history, `HEARD` for the others that are read, 1 for the rest, [B, N]."""
    less_H = 1 - torch.where(torch.arange(REACH) == 0, HEARD_LAST, HEARD)
    return 1 - ((rows_BN[..., None] == heard_BH[:, None, :]) * less_H).sum(2)
