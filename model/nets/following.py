"""Estimates from which place of a listener's own past the listening goes on, and what comes next there.

A listener who replays an album or a playlist follows a *place* of the past, and moves on with each play: mostly to the next
place, sometimes to one close by, and sometimes the listener jumps to any other place. This is a hidden Markov model whose state
is the place. `next_places` filters the newest kept plays x1 .. xn, the newest last:

    p1(e)   = prior(e)
    qi(e)   = pi(e) [track of e = xi], divided by (its sum + OUTSIDE)
    pi+1(e) = go * sum over d of k(d) qi(e - d) + (1 - go * sum of qi) * prior(e)

A match after a match multiplies up, so the longest sequence that agrees decides, as in a back-off. But a track may be left out,
or come in another order. OUTSIDE stands for a track that comes from nowhere in the past. go is lower if the listener paused.
k(d) is 1 for d = 1, NEAR / d for other d up to AROUND, and BACK / |d| for the places before, divided by their sum. The prior
halves with every PRIOR entries, and is lower for refused ones.

The constants are rounded from maximum-likelihood fits on the validation parts of six real listeners and of simulated habits. An
error in them costs little, because the copy head weighs the result.

Shapes: B batch, L places of a long history, S steps, K places around a place.
"""

from math import log

import torch
from torch import Tensor
from torch.nn import functional

STEPS, AROUND = 5, 15
"""Number of newest kept plays that are matched, and of places on each side that a listener may move to."""
GO, GO_AFTER_PAUSE, PAUSE_MINUTES = 0.75, 0.25, 30
NEAR, BACK = 0.45, 0.2
OUTSIDE = 0.0025
PRIOR, REFUSED = 700.0, 0.6


def next_places(newest_BL: Tensor, kept_BL: Tensor, refused_BL: Tensor, ages_BL: Tensor) -> Tensor:
    """Compute the probability that the next play is the one at each place of the past, `[B, L]`. It is 0 for padding.

    `newest_BL` has the place of the newest play of each entry's track. `kept_BL` and `refused_BL` are bool, both False for
    padding. Only places before the newest `STEPS` kept plays are matched.
    """
    width = newest_BL.shape[1]
    place_L = torch.arange(width, device=newest_BL.device)
    weight_BL = kept_BL + REFUSED * refused_BL
    prior_BL = weight_BL * torch.exp((place_L - (width - 1)).float() * (log(2) / PRIOR))
    prior_BL = prior_BL / prior_BL.sum(1, keepdim=True).clamp(min=1e-9)
    at_BL = functional.pad(torch.where(kept_BL, place_L, -1), (STEPS, 0), value=-1)
    at_BS = at_BL.topk(STEPS).values.flip(1)  # oldest first
    heard_BS, at_BS = at_BS >= 0, at_BS.clamp(min=0)
    track_BS = torch.where(heard_BS, newest_BL.gather(1, at_BS), -1)
    age_BS = ages_BL.gather(1, at_BS)
    paused_BS = age_BS - functional.pad(age_BS[:, 1:], (0, 1)) > PAUSE_MINUTES
    go_BS = torch.where(paused_BS, GO_AFTER_PAUSE, GO)
    older_BL = place_L < at_BS[:, :1]
    met_BSL = ((newest_BL[:, None] == track_BS[:, :, None]) & older_BL[:, None]).float()
    kernel_K = _moves(newest_BL.device)
    next_BL = prior_BL
    for step in range(STEPS):
        found_BL = met_BSL[:, step] * next_BL
        total_B1 = found_BL.sum(1, keepdim=True)
        go_B1 = go_BS[:, step : step + 1] / (total_B1 + OUTSIDE)
        moved_BL = functional.conv1d(found_BL[:, None], kernel_K[None, None], padding=AROUND)[:, 0]
        next_BL = go_B1 * moved_BL + (1 - go_B1 * total_B1) * prior_BL
    return next_BL * (kept_BL | refused_BL)


def _moves(device: torch.device) -> Tensor:
    """Return k, `[K]`, as the kernel of torch's convolution, which is not flipped: the first is d = `AROUND`."""
    away_K = torch.arange(AROUND, -AROUND - 1, -1, device=device)
    far_K = away_K.abs().clamp(min=1).float()
    kernel_K = torch.where(away_K > 1, NEAR / far_K, torch.where(away_K < 0, BACK / far_K, 0.0))
    kernel_K = torch.where(away_K == 1, 1.0, kernel_K)
    return kernel_K / kernel_K.sum()
