"""What a report's figures mean, in words."""

from collections.abc import Sequence

from training.evaluation.evaluate import Measured

POPULAR, BEST_POSSIBLE = "popular", "best possible"
GATE = ("hr@20", "ndcg@10")
"""What a model must find at least as much of as popularity does."""


def worse_than_popularity(rankers: Sequence[Measured], model: str) -> str | None:
    """Return a sentence if the ranker named `model` finds less than popularity on the same cases; None if it does not.

    A test part without a kept track gives no figures. It says nothing for the model, so this is a sentence too.
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
