"""Session memory: tables of past sessions, which raise the scores of tracks that followed similar sessions.

If tracks have few plays, a network learns little more than which tracks are similar. Looking up what really followed works
better. So a track's score gets a second part, computed from tables. It needs no training and can be refreshed at any time:

    score(i)    = network(i) + weight * log(1 + STEEP * share(i)),     share = evidence(i) / evidence of all tracks
    evidence(i) = heard(i) * sum over matches of strength * near(places from the match to i)
    strength    = ( sim(session) * lasting(session) ) ^ SHARP * match(lag), less that of the `MATCHES`th
    sim         = sum over the tracks that both have of exp(-lag / FADE) idf(track)^RARE
    lasting     = 1 / (distinct tracks^LENGTH (1 + days before the newest session ended)^AGE)
    match       = 1 for the last track of the history, else LATER exp(-(lag - 1) / LATER_FADE)
    near        = SELF for the matched track itself, places^-AFTER behind it, BEFORE places^-BEFORE_FADE before it

A *match* is a place in a past session that holds one of the `REACH` newest distinct kept tracks of the history (lag 0 is the
last track). Only the newest sessions of each track are searched.

The weighting follows sequence-aware session-kNN (see `training.evaluation.session_knn`) with other numbers and curves. Three
things differ. All matches of a session count, not only its newest. Similar sessions weigh more than in proportion. The time of
the request is unknown, so a session's age is counted from the newest session. The strength of the weakest match is subtracted
from all, so that a tie for the last place changes nothing. The numbers were chosen on the validation part of #nowplaying.

The tables are integers and take 12 bytes for each track of each session. A request allocates one float for each session and one
for each row.

Shapes: B batch, T time, S sessions, P places of all sessions end to end, V rows, H read tracks of a history (`REACH`), R newest
sessions of a track, M = H R, K strongest matches, W places around a match, N = K W.
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
    """The tables of past sessions. There must be at least one. Sessions are stored newest first, one after the other.

    A session holds its distinct tracks, in the order in which each was last heard.
    """

    rows_P: Tensor
    sessions_P: Tensor  # the number of the session at each place
    starts_V: Tensor  # [V + 1]: the places with row v are `places_P[starts_V[v]:starts_V[v + 1]]`
    places_P: Tensor  # newest session first
    ages_S: Tensor  # days between a session's end and the newest one's, float


class SessionMemory(nn.Module):
    """Computes score bonuses from the tables. It searches the `recent` newest sessions of each track, and multiplies the bonus
    by `weight`.
    """

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
        """Return the remembered rows `[B, N]` after each history and the score bonus of each, `[B, N]`.

        If a row occurs several times, every occurrence has the same bonus. Padding has the bonus 0.
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
        """Add the memory's bonuses to the network's scores of all rows, `[B, V]`."""
        rows_BN, more_BN = self(tracks_BT, outcomes_BT)
        return scores_BV.scatter(1, rows_BN, scores_BV.gather(1, rows_BN) + more_BN)

    def _matches(self, heard_BH: Tensor) -> tuple[Tensor, Tensor]:
        """Return the K strongest matches: strength `[B, K]` and place `[B, K]`. The strength is 0 if there are fewer
        matches.
        """
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
    """Return the `REACH` newest distinct kept rows of each history, newest first, `[B, H]`. Missing ones are `PADDING`.

    If a track was heard twice, the later place counts.
    """
    tracks_BT, outcomes_BT = (functional.pad(array, (REACH, 0)) for array in (tracks_BT, outcomes_BT))
    kept_BT = (tracks_BT != PADDING) & ~is_refused(outcomes_BT)
    place_T = torch.arange(tracks_BT.shape[1])
    same_BTT = (tracks_BT[:, :, None] == tracks_BT[:, None, :]) & kept_BT[:, None, :] & (place_T > place_T[:, None])
    kept_BT = kept_BT & ~same_BTT.any(2)
    newest_BH, place_BH = torch.where(kept_BT, place_T, -1).topk(REACH)
    return torch.where(newest_BH < 0, PADDING, tracks_BT.gather(1, place_BH))


def _near() -> Tensor:
    """Return the weight `near` of each distance from a match, `[W]`, from `-AROUND` (before the match) to `AROUND` (after
    it).
    """
    away_W = torch.arange(-AROUND, AROUND + 1)
    apart_W = away_W.abs().clamp(min=1)
    return torch.where(away_W > 0, apart_W**-AFTER, torch.where(away_W < 0, BEFORE * apart_W**-BEFORE_FADE, SELF))


def _heard(rows_BN: Tensor, heard_BH: Tensor) -> Tensor:
    """Return the factor heard(i) of each row, `[B, N]`: `HEARD_LAST` for the history's last track, `HEARD` for its other
    tracks, else 1.
    """
    less_H = 1 - torch.where(torch.arange(REACH) == 0, HEARD_LAST, HEARD)
    return 1 - ((rows_BN[..., None] == heard_BH[:, None, :]) * less_H).sum(2)
