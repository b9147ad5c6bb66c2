"""Estimates from which place of a listener's own past the listening goes on, and what comes next there.

A listener who replays an album or a playlist follows a *place* of the past, and moves on with each play: mostly to the next
place, sometimes to one close by, and sometimes the listener jumps to any other place. This is a hidden Markov model whose state
is the place. `next_places` filters the newest plays x1 .. xn, the newest last:

    p1(e)   = prior(e)
    qi(e)   = pi(e) [track of e = xi, and e is before xi], divided by (its sum + OUTSIDE)
    mi(e)   = go * sum over d of k(d) qi(e - d)
    pi+1(e) = mi(e) + (1 - sum of mi) * prior(e)

A match after a match multiplies up, so the longest sequence that agrees decides, as in a back-off. But a track may be left out,
or come in another order. Refused plays say where the listener is just as kept ones do: people skip within an album. A listener
may also follow a place that is only a few plays old, and play the same few tracks again.

OUTSIDE stands for a track that comes from nowhere in the past. go is lower after a skip, and lowest after a pause. k(d) is 1
for d = 1, NEAR / d for other d up to AROUND, and BACK / |d| for the places before, divided by their sum. The prior halves with
every PRIOR entries, and is lower for refused ones.

The constants are rounded from maximum-likelihood fits on the validation parts of six real listeners and of simulated habits. An
error in them costs little, because the copy head weighs the result.

Shapes: B batch, L places of a long history, S steps, K places around a place.
"""

from math import log

import torch
from torch import Tensor
from torch.nn import functional

STEPS, AROUND = 5, 15
"""Number of newest plays that are matched, and of places on each side that a listener may move to."""
GO, GO_AFTER_SKIP, GO_AFTER_PAUSE, PAUSE_MINUTES = 0.75, 0.6, 0.2, 30
NEAR, BACK = 0.45, 0.2
OUTSIDE = 0.0025
PRIOR, REFUSED = 700.0, 0.6


def next_places(newest_BL: Tensor, kept_BL: Tensor, refused_BL: Tensor, ages_BL: Tensor) -> Tensor:
    """Compute the probability that the next play is the one at each place of the past, `[B, L]`. It is 0 for padding.

    `newest_BL` has the place of the newest play of each entry's track. `kept_BL` and `refused_BL` are bool, both False for
    padding. The newest `STEPS` plays are matched, each with the places before it.
    """
    width = newest_BL.shape[1]
    place_L = torch.arange(width, device=newest_BL.device)
    held_BL = kept_BL | refused_BL
    weight_BL = kept_BL + REFUSED * refused_BL
    prior_BL = weight_BL * torch.exp((place_L - (width - 1)).float() * (log(2) / PRIOR))
    prior_BL = prior_BL / prior_BL.sum(1, keepdim=True).clamp(min=1e-9)
    track_BS = _newest(torch.where(held_BL, newest_BL, -1), empty=-1)
    age_BS = _newest(ages_BL)
    paused_BS = age_BS - functional.pad(age_BS[:, 1:], (0, 1)) > PAUSE_MINUTES
    go_BS = torch.where(paused_BS, GO_AFTER_PAUSE, torch.where(_newest(refused_BL), GO_AFTER_SKIP, GO))
    at_S = width - STEPS + torch.arange(STEPS, device=newest_BL.device)
    met_BSL = ((newest_BL[:, None] == track_BS[:, :, None]) & (place_L < at_S[:, None])).float()
    kernel_K = _moves(newest_BL.device)
    next_BL = prior_BL
    for step in range(STEPS):
        found_BL = met_BSL[:, step] * next_BL
        go_B1 = go_BS[:, step : step + 1] / (found_BL.sum(1, keepdim=True) + OUTSIDE)
        moved_BL = functional.conv1d(found_BL[:, None], kernel_K[None, None], padding=AROUND)[:, 0]
        moved_BL = moved_BL * go_B1 * held_BL
        next_BL = moved_BL + (1 - moved_BL.sum(1, keepdim=True)) * prior_BL
    return next_BL


def _newest(values_BL: Tensor, empty: int = 0) -> Tensor:
    """Return the newest `STEPS` places, `[B, S]`, oldest first. Places that a shorter past lacks are `empty`."""
    return functional.pad(values_BL, (STEPS, 0), value=empty)[:, -STEPS:]


def _moves(device: torch.device) -> Tensor:
    """Return k, `[K]`, as the kernel of torch's convolution, which is not flipped: the first is d = `AROUND`."""
    away_K = torch.arange(AROUND, -AROUND - 1, -1, device=device)
    far_K = away_K.abs().clamp(min=1).float()
    kernel_K = torch.where(away_K > 1, NEAR / far_K, torch.where(away_K < 0, BACK / far_K, 0.0))
    kernel_K = torch.where(away_K == 1, 1.0, kernel_K)
    return kernel_K / kernel_K.sum()
