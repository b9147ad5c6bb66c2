"""A service whose model is as slow as a test wants: `python -m tests.service.slow_service ARTIFACT PORT GATE`.

It creates the file GATE.entered when a request reaches the model, and answers it when the file GATE exists.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from model.artifact import load
from model.encoding import RowHistory
from model.graphs import Graphs, Scores
from service.app import create_app
from service.command import serve
from service.settings import Settings
from tests.service.fakes import MemorySessions, MemoryTakeDowns


class SlowGraphs(Graphs):
    """The real graphs behind a gate."""

    gate: Path | None = None  # no gate during the replay of golden cases, until the test sets one

    def best(self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]) -> list[Scores]:
        if self.gate is not None:
            self.gate.with_suffix(".entered").touch()
            while not self.gate.exists():
                time.sleep(0.01)
        return super().best(histories, excluded, counts)


def main() -> None:
    """Serve until told to stop."""
    artifact = load(Path(sys.argv[1]))
    graphs = SlowGraphs(artifact, threads=1)
    graphs.gate = Path(sys.argv[3])
    settings = Settings(port=int(sys.argv[2]))
    serve(
        settings,
        create_app(settings, artifact, graphs, store=MemorySessions(artifact.manifest.history), take_downs=MemoryTakeDowns()),
    )


if __name__ == "__main__":
    main()
