"""An artifact is written only if its graphs agree with torch, and it contains nothing about the machine that wrote it."""

from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from model import artifact, graphs
from model.artifact import ArtifactError
from model.encoding import RowHistory
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.network import Heads, Network
from model.vocabulary import FIRST, Vocabulary
from tests.training.conftest import DROPPED, TRACKS, Exported
from tests.training.goldens import golden_answers
from tests.training.worlds import small_recipe
from training.evaluation.rankers import NetworkRanker
from training.exporting.export import ExportError, check_parity, export


class Averaging(Network):
    """A network that averages the heard tracks, and is exported in a second.

    If it is `fickle`, it computes another mean in the graph, as a broken exporter would.
    """

    rows = 9

    def __init__(self, *, fickle: bool) -> None:
        super().__init__()
        self.exported_factor = 2 if fickle else 1
        self.table = nn.Embedding(self.rows, 4)

    def states(
        self,
        tracks_BT: Tensor,
        outcomes_BT: Tensor,
        gaps_BT: Tensor | None = None,  # noqa: ARG002  # it reads none
        *,
        last: bool = False,  # noqa: ARG002  # there is only one
    ) -> Tensor:
        """Return one state, which is enough here."""
        kept_BT = tracks_BT * outcomes_BT.gt(0)
        mean_BD = self.table(kept_BT).mean(dim=1)
        factor = self.exported_factor if torch.compiler.is_exporting() else 1
        return torch.unsqueeze(factor * mean_BD, 1)

    def training_states(self, tracks_BT: Tensor, outcomes_BT: Tensor, gaps_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Not called, because the network is not trained."""
        raise NotImplementedError

    def queries(self, states_MD: Tensor) -> Heads:
        """Use the state as the query."""
        return Heads(states_MD, None)

    def items(self, rows: Tensor | None = None) -> Heads:
        """Use the input table as the items."""
        return Heads(self.table.weight if rows is None else self.table(rows), None)


def test_network_whose_graphs_disagree_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """Not even a draft is left, and `current` names the same artifact as before."""
    (tmp_path / "old").mkdir()
    (tmp_path / "current").symlink_to("old")
    with pytest.raises(ExportError, match=r"ONNX Runtime and torch differ by up to .*; wanted no more than 0\.0001"):
        export(
            Averaging(fickle=True),
            recipe=small_recipe("fickle"),
            vocabulary=Vocabulary([f"t{number}" for number in range(7)]),
            popular=[2],
            samples=[],
            root=tmp_path,
            origin={},
            quality={},
        )

    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "old"]
    assert (tmp_path / "current").resolve().name == "old"


def altered(network: Network, name: str, value: float) -> Iterator[NetworkRanker]:
    """Return a ranker of the network with one number of one weight replaced. The network is restored afterwards."""
    weight = network.get_parameter(name).detach().view(-1)
    before = weight[-1].item()
    weight[-1] = value
    try:
        yield NetworkRanker.of("altered", network)
    finally:
        weight[-1] = before


@pytest.mark.parametrize(
    "name",
    [
        "bias",
        "distances.apart",
        "blocks.each.1.feed_forward.2.bias",
        "blocks.norm.weight",
        "outcome.weight",
        "outcome_scale.weight",
        "gap.weight",
        "transition_gate.bias",
    ],
)
def test_parity_notices_a_single_number(exported: Exported, name: str) -> None:
    """It includes a number for the longest distance, which only a full history reads."""
    for ranker in altered(exported.network, name, 3.0):
        with pytest.raises(ExportError, match="differ by up to"):
            check_parity(ranker, exported.folder, length=exported.length)


def test_parity_names_scores_that_are_no_numbers(exported: Exported) -> None:
    """NaN is reported as such and not as a difference."""
    for ranker in altered(exported.network, "start", float("nan")):
        with pytest.raises(ExportError, match="no numbers"):
            check_parity(ranker, exported.folder, length=exported.length)


def test_parity_holds_for_the_network_that_was_exported(exported: Exported) -> None:
    """Without an altered number the check of the two tests above passes."""
    check_parity(NetworkRanker.of("same", exported.network), exported.folder, length=exported.length)


def test_golden_cases_replay(exported: Exported) -> None:
    """The service replays them before it is ready. They include an empty history and a full one."""
    lengths = set()
    for case, rows, scores in golden_answers(exported.folder):
        lengths.add(len(case.rows))

        assert rows[0].tolist() == list(case.best)
        assert scores[0] == pytest.approx(case.scores, rel=1e-4, abs=1e-4)
        assert not set(case.best) & {0, 1, *case.excluded}

    assert {0, exported.length} <= lengths


def test_artifact_says_what_it_is(exported: Exported) -> None:
    """The manifest has the given recipe, rule, origin and quality."""
    loaded = artifact.load(exported.folder)
    recipe = small_recipe("everything", length=9)

    assert loaded.manifest.name == "everything"
    assert loaded.manifest.history == recipe.history
    assert loaded.manifest.recipe["network"]["wanted_head"] is True
    assert loaded.manifest.origin == {"source": "made up"}
    assert loaded.manifest.quality == {"hr@20": 0.5}
    assert list(loaded.vocabulary.tracks) == TRACKS
    assert list(loaded.popular) == [row for row in range(FIRST, FIRST + len(TRACKS)) if row not in DROPPED]


def test_artifact_is_current_and_nothing_else_is_left(exported: Exported) -> None:
    """No unfinished draft is left beside it."""
    root = exported.folder.parent

    assert sorted(path.name for path in root.iterdir()) == sorted(["current", exported.folder.name])
    assert (root / "current").resolve() == exported.folder.resolve()


def test_artifact_can_be_read_by_another_user(exported: Exported) -> None:
    """The service runs as another user."""
    assert exported.folder.stat().st_mode & 0o555 == 0o555
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in exported.folder.iterdir())


def test_no_file_tells_of_the_machine(exported: Exported) -> None:
    """The exporter records stack traces. No path of this machine may reach the users of the model."""
    private = (str(Path.cwd()), str(Path(torch.__file__).parent), "site-packages", ".py", str(exported.folder.parent))
    found = {(path.name, word) for path in exported.folder.iterdir() for word in private if word.encode() in path.read_bytes()}

    assert not found


def test_graph_without_its_weights_does_not_open(exported: Exported, tmp_path: Path) -> None:
    """The weights are in their own file only."""
    (tmp_path / artifact.MODEL).write_bytes((exported.folder / artifact.MODEL).read_bytes())
    with pytest.raises(Exception, match=r"weights\.bin"):  # onnxruntime raises another class for each status
        onnxruntime.InferenceSession(str(tmp_path / artifact.MODEL), providers=["CPUExecutionProvider"])


def test_artifact_that_the_service_would_refuse_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export opens it with the service's own code, which here allows no difference from the golden scores."""
    monkeypatch.setattr(graphs, "TOLERANCE", -1.0)
    (tmp_path / "old").mkdir()
    (tmp_path / "current").symlink_to("old")
    with pytest.raises(ArtifactError, match="golden case 0: found scores"):
        export(
            Averaging(fickle=False),
            recipe=small_recipe("refused"),
            vocabulary=Vocabulary([f"t{number}" for number in range(7)]),
            popular=[2],
            samples=[],
            root=tmp_path,
            origin={},
            quality={},
        )

    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "old"]
    assert (tmp_path / "current").resolve().name == "old"


def test_masked_network_exports_to_the_same_contract(tmp_path: Path) -> None:
    """The export compares both graphs with torch on empty, ragged and full batches, and the artifact loads."""
    torch.manual_seed(0)
    network = build(NetworkConfig(kind="cloze", width=8, layers=1, heads=2, feed_forward=8), 9, 8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    folder = export(
        network,
        recipe=small_recipe("cloze"),
        vocabulary=Vocabulary([f"t{number}" for number in range(7)]),
        popular=[2],
        samples=[RowHistory([2, 3], [1, 2])],
        root=tmp_path,
        origin={},
        quality={},
    )

    assert artifact.load(folder).manifest.name == "cloze"


def test_network_without_repeats_is_exported_as_such(tmp_path: Path) -> None:
    """Its golden cases contain no track that was read. Its graph, which excludes only the newest track, gives the same.

    The network is of another kind, which exports to the same contract.
    """
    torch.manual_seed(0)
    network = build(NetworkConfig(kind="sine", width=8, layers=1, heads=2, feed_forward=8, repeats=False), 9, 8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    folder = export(
        network,
        recipe=small_recipe("fresh"),
        vocabulary=Vocabulary([f"t{number}" for number in range(7)]),
        popular=[2],
        samples=[RowHistory([2, 3, 4], [1, 2, 1]), RowHistory([5], [1])],
        root=tmp_path,
        origin={},
        quality={},
    )
    found = list(golden_answers(folder))

    assert [sorted({*case.rows, *case.best}) for case, _, _ in found] == [list(range(2, 9))] * 3
    for case, rows, scores in found:
        assert not set(case.rows) & set(case.best)
        assert rows[0].tolist() == list(case.best)
        assert scores[0] == pytest.approx(case.scores, rel=1e-4, abs=1e-4)
