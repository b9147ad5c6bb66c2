"""Puts a report's figures into sentences that a reader understands without knowing the metrics."""

from collections.abc import Mapping, Sequence

from training.evaluation.evaluate import Measured

POPULAR, BEST_POSSIBLE, SESSION_KNN = "popular", "best possible", "session-kNN"
GATE = ("hr@20", "ndcg@10")
"""The metrics in which a model must reach at least popularity's value."""


def verdict(rankers: Sequence[Measured], model: str) -> list[str]:
    """Return two texts about the ranker named `model`: how often it is right, and how much of that is skipped. The first one
    names the best of the other baselines if that finds at least as much as the model.

    Empty if there is no such ranker, or if the test part has no kept track.
    """
    named = {one.name: one for one in rankers}
    if model not in named or "hr@20" not in named[model].values:
        return []
    return [_finds(named, model), _skipped(named, model)]


def worse_than_popularity(rankers: Sequence[Measured], model: str) -> str | None:
    """Return a sentence if the ranker named `model` finds less than popularity on the same cases, else None.

    It also returns one if the test part has no kept track, because then no figure supports the model.
    """
    values = {one.name: one.values for one in rankers}
    if model not in values or POPULAR not in values or any(key not in values[model] for key in GATE):
        return f"nothing says whether {model} is better than popularity: the test part has no kept track to find"
    mine, popular = ([values[name][key] for key in GATE] for name in (model, POPULAR))
    if all(own >= other for own, other in zip(mine, popular, strict=True)):
        return None
    return (
        f"{model} is worse than popularity on its own test part: HR@20 {mine[0]:.4f} and NDCG@10 {mine[1]:.4f}, "
        f"where the most popular tracks have {popular[0]:.4f} and {popular[1]:.4f}"
    )


def percent(share: float) -> str:
    """Return a share as people say it: `19 %`, and `4.2 %` below ten."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def _finds(named: Mapping[str, Measured], model: str) -> str:
    hits = named[model].values["hr@20"]
    beside = [
        f"{_times(hits / named[other].values['hr@20'])} as often as {word}"
        for other, word in ((POPULAR, "popularity"), (SESSION_KNN, "session-kNN"))
        if named.get(other) is not None and named[other].values.get("hr@20")
    ]
    text = f"{model} finds the next kept track among its first 20 proposals in {percent(hits)} of cases"
    text = f"{text}: {' and '.join(beside)}." if beside else f"{text}."
    rivals = sorted(
        (-one.values["hr@20"], name)
        for name, one in named.items()
        if name not in (model, POPULAR, SESSION_KNN, BEST_POSSIBLE) and 0 < hits <= one.values.get("hr@20", 0)
    )
    if not rivals:
        return text
    best, rival = rivals[0]
    return f"{text} The baseline {rival} finds {'as many' if percent(-best) == percent(hits) else f'more: {percent(-best)}'}."


def _skipped(named: Mapping[str, Measured], model: str) -> str:
    counts = named[model].counts
    if not counts.get("refused"):
        return "Nobody skipped anything in the test part, so it does not say what listeners refuse."
    plays = f"{percent(counts['refused'] / counts['cases'])} of all plays"
    mine = named[model].values.get("skipped_hits@20")
    if mine is None:
        return f"None of its proposals was played; {plays} were skipped."
    popular = named[POPULAR].values.get("skipped_hits@20") if POPULAR in named else None
    beside = f"{percent(popular)} for popularity and {plays}" if popular is not None else plays
    return f"Of its proposals that were then played, {percent(mine)} were skipped, beside {beside}."


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 9.95 else f"{ratio:.1f} times"
