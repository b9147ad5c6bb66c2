"""docs/operate.md names the metrics by which models can be told apart."""

import re

from service.observing.metrics import Metrics
from service.observing.outcomes import ProposalOutcome
from tests.docs.pages import page


def test_metrics_with_a_version_are_listed() -> None:
    """The page lists all that a model, a shadow and an outcome count, and no others. It also says which have an arm."""
    metrics = Metrics()
    of_model = metrics.of_model("tiny", "v1", "current")
    of_model.onnx_of("model")
    of_model.degraded_of("redis")
    of_model.proposals_of("model")
    metrics.shadow_overlap_of("v1")
    metrics.outcome(ProposalOutcome("v1", "current", "1", "skipped"))
    labels = {
        family.name + ("_total" if family.type == "counter" else ""): set(family.samples[0].labels)
        for family in metrics.families()
        if family.samples
    }
    text = page("docs/operate.md").text
    listed, of_arms = (re.findall(r"`(nexttrack_\w+)`", part) for part in _between(text))

    assert sorted(listed) == sorted(name for name, found in labels.items() if "version" in found)
    assert sorted(of_arms) == sorted(name for name, found in labels.items() if "arm" in found)


def _between(text: str) -> tuple[str, str]:
    """Return the sentence that lists the metrics with a version, and the one that lists those with an arm."""
    listed = text.partition("These metrics have a label `version`:")[2].partition(". ")
    return listed[0], listed[2].partition("also have `arm`")[0]
