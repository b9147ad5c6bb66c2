"""What the service says of itself between two looks at `/metrics`: what a request costs beyond ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

_SEEN = ("nexttrack_overhead_seconds", "nexttrack_onnx_seconds")


@dataclass(frozen=True, slots=True)
class Scrape:
    """Histograms as they stood: (name, upper limit or "sum") -> count so far, or seconds."""

    values: dict[tuple[str, str], float] = field(default_factory=dict)

    def since(self, before: "Scrape", name: str) -> tuple[float, float, Sequence[tuple[float, float]]]:
        """Of one histogram: how many, seconds in all, and (upper limit, how many up to it) in order."""
        grown = {key: value - before.values.get((name, key), 0.0) for (of, key), value in self.values.items() if of == name}
        total = grown.pop("sum", 0.0)
        limits = sorted((float(limit), count) for limit, count in grown.items())
        return (limits[-1][1] if limits else 0.0), total, limits


def scrape(port: int) -> Scrape:
    """Look at a service's metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        return read(reply.read().decode())


def read(exposition: str) -> Scrape:
    """The histograms that are of use here, labels added up."""
    found = Scrape()
    for family in text_string_to_metric_families(exposition):
        if family.name not in _SEEN:
            continue
        for sample in family.samples:
            key = "sum" if sample.name.endswith("_sum") else sample.labels.get("le")
            if key is not None:
                found.values[family.name, key] = found.values.get((family.name, key), 0.0) + sample.value
    return found


def overhead(before: Scrape, after: Scrape, *, end_to_end_ms: float) -> dict[str, float]:
    """Milliseconds a request beyond ONNX Runtime: by the service's own metric (mean, and median within its limits), and as
    the client sees it, the network and the client itself included, which asked one at a time.
    """
    count, seconds, limits = after.since(before, "nexttrack_overhead_seconds")
    runs, onnx_s, _ = after.since(before, "nexttrack_onnx_seconds")
    onnx_ms = 1000 * onnx_s / max(1.0, runs)
    return {
        "onnx_ms": onnx_ms,
        "overhead_ms": 1000 * seconds / max(1.0, count),
        "overhead_p50_ms": 1000 * quantile(limits, 0.5),
        "overhead_seen_ms": end_to_end_ms - onnx_ms,
    }


def quantile(limits: Sequence[tuple[float, float]], share: float) -> float:
    """A quantile of a cumulative histogram, linear between its limits, as Prometheus does; 0 of an empty one."""
    wanted = share * (limits[-1][1] if limits else 0.0)
    low, below = 0.0, 0.0
    for limit, count in limits:
        if count >= wanted and count > below:
            return low if limit == float("inf") else low + (limit - low) * (wanted - below) / (count - below)
        low, below = limit, count
    return 0.0
