"""The training loop learns what can be learned, continues after a kill, and gives the same weights for the same seed.

Most tests run on `worlds.two_rings`, where the last track and its outcome determine the next track.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from model.encoding import RowHistory, encode_histories
from model.events import Outcome
from model.nets.config import NetworkConfig
from model.nets.network import Network
from model.vocabulary import FIRST
from tests.training.worlds import RING, next_in_rings, rings_split, small_recipe, split_of, two_rings
from training.data.split import TRAIN
from training.fitting.checkpoint import CHECKPOINT, Checkpoint, Epoch, Part, RunError
from training.fitting.fit import Fitted, Validate, fit
from training.recipe import FitRule, LossRule, Recipe

SPLIT = rings_split()
EVERY_TRACK = LossRule(targets="all")
TO_THE_END = FitRule(epochs=12, patience=12, batch=16, warmup=5, learning_rate=1e-2)
PRECISIONS: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
PLAYED, SKIPPED = Outcome.PLAYED, Outcome.SKIPPED


def steady(_: Network) -> Mapping[str, float]:
    """A validation that always gives the same score."""
    return {"ndcg@10": 0.5}


class Rising:
    """A validation whose score always rises, so that the last epoch is the best."""

    score = 0.0

    def __call__(self, _: Network) -> Mapping[str, float]:
        """Return a higher score than before."""
        self.score += 1
        return {"ndcg@10": self.score}


class Scripted:
    """A validation that returns given scores in order. A None raises an error, as if the run had been killed."""

    def __init__(self, script: Sequence[float | None]) -> None:
        self.script = iter(script)
        self.weights: list[dict[str, Tensor]] = []

    def __call__(self, network: Network) -> Mapping[str, float]:
        """Return the next score, and store the weights that it was called with."""
        self.weights.append(weights_of(network))
        torch.rand(3)  # a validation may draw random numbers, too
        score = next(self.script)
        if score is None:
            raise KeyboardInterrupt
        return {"ndcg@10": score}


def weights_of(network: Network) -> dict[str, Tensor]:
    """Return a copy of a network's weights."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Say whether weights are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trained(recipe: Recipe, folder: Path, validate: Validate | None = steady) -> Fitted:
    """Train on the rings without output."""
    torch.set_num_threads(1)  # these tensors are too small for several threads
    return fit(recipe, SPLIT, validate, folder=folder, console=Console(file=StringIO()))


def epochs(count: int, *, patience: int = 9) -> FitRule:
    """Return a rule for this many epochs."""
    return FitRule(epochs=count, patience=patience, batch=16, warmup=5, learning_rate=5e-3)


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network trained on the rings until it knows them."""
    network = NetworkConfig(width=32, layers=1, heads=2, feed_forward=64, dropout=0.0)
    recipe = small_recipe(network=network, loss=EVERY_TRACK, fit=TO_THE_END)
    return trained(recipe, tmp_path_factory.mktemp("learner"), Rising()).network


def test_sparse_tables_learn_it_as_well(tmp_path: Path) -> None:
    """The losses are sampled negatives, as for large catalogues."""
    network = NetworkConfig(width=32, layers=1, heads=2, feed_forward=64, dropout=0.0)
    loss = LossRule(targets="all", main="sampled", negatives=8)
    recipe = small_recipe(network=network, loss=loss, fit=replace(TO_THE_END, tables="sparse"))

    assert share_right(trained(recipe, tmp_path, Rising()).network) >= 0.95


def test_states_in_bfloat16_learn_it_as_well(tmp_path: Path) -> None:
    """It is the default of a GPU, run on a CPU: the loss falls, and the weights stay float32."""
    network = NetworkConfig(width=32, layers=1, heads=2, feed_forward=64, dropout=0.0)
    recipe = small_recipe(network=network, loss=EVERY_TRACK, fit=replace(TO_THE_END, precision="bfloat16"))
    fitted = trained(recipe, tmp_path, Rising())
    curve = [epoch.losses["loss"] for epoch in fitted.epochs]

    assert curve[-1] < curve[0] / 2
    assert share_right(fitted.network) >= 0.95
    assert {parameter.dtype for parameter in fitted.network.parameters()} == {torch.float32}


def test_bfloat16_is_really_used(tmp_path: Path) -> None:
    """Rounding changes the loss curve. Without autocast it would be equal bit for bit."""
    plain, half = (
        trained(small_recipe(fit=replace(epochs(1), precision=precision)), tmp_path / precision).epochs[0].losses["loss"]
        for precision in PRECISIONS
    )

    assert plain != half
    assert plain == pytest.approx(half, rel=0.01)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network that is trained in the same way but does not read outcomes."""
    network = NetworkConfig(width=32, layers=1, heads=2, feed_forward=64, dropout=0.0, outcomes=False)
    recipe = small_recipe(network=network, loss=EVERY_TRACK, fit=TO_THE_END)
    return trained(recipe, tmp_path_factory.mktemp("blind"), Rising()).network


def scores(network: Network, histories: Sequence[RowHistory]) -> Tensor:
    """Return the scores of all tracks for each history."""
    batch = encode_histories(histories, length=8)
    with torch.no_grad():
        query_BQ: Tensor = network(*map(torch.from_numpy, batch))
    return (query_BQ @ network.item_matrix().detach().T)[:, FIRST:]


def unseen() -> tuple[list[RowHistory], list[int]]:
    """Return histories of listeners who are not in the training part, and the track that must follow each."""
    plays = two_rings(40, plays=6, seed=9)
    histories = [RowHistory([row for row, _, _ in mine], [outcome for _, outcome, _ in mine]) for mine in plays]
    return histories, [next_in_rings(*mine[-1][:2]) for mine in plays]


def share_right(network: Network) -> float:
    """Return the share of histories whose best track is the one that follows."""
    histories, following = unseen()
    best = scores(network, histories).argmax(dim=1) + FIRST
    return float((best == torch.tensor(following)).float().mean())


def test_network_learns_a_world_whose_next_track_is_certain(learner: Network) -> None:
    """A guess is right in one case of twelve. That 38 of 40 are right by luck is less likely than 1e-35."""
    assert share_right(learner) >= 0.95


def test_network_that_is_blind_to_skips_cannot_learn_it(blind: Network) -> None:
    """It learns that the ring continues, and is wrong after refused tracks, which are three cases of ten.

    So the test above shows that outcomes are read.
    """
    histories, _ = unseen()
    refused = [history.outcomes[-1] == SKIPPED for history in histories]

    assert share_right(blind) <= 1 - sum(refused) / len(refused) + 0.05
    assert share_right(blind) >= 0.5


def test_refusing_a_track_lowers_its_neighbours(learner: Network) -> None:
    """The same history ends in SKIPPED instead of PLAYED.

    For each of the twelve tracks, the ring's next track loses rank, and the whole ring loses to the other ring.
    """
    rows = range(FIRST, FIRST + 2 * RING)
    kept, left = (
        scores(learner, [RowHistory([row], [outcome]) for row in rows]).softmax(dim=1) for outcome in (PLAYED, SKIPPED)
    )
    neighbours = torch.tensor([next_in_rings(row, PLAYED) - FIRST for row in rows])[:, None]
    ring = torch.arange(2 * RING) // RING
    same_ring = ring[:, None] == ring[None, :]

    assert (left.gather(1, neighbours) < kept.gather(1, neighbours)).all()
    assert ((left * same_ring).sum(dim=1) < (kept * same_ring).sum(dim=1)).all()


@pytest.mark.parametrize(
    ("loss", "proposed"),
    [(LossRule(), 4), (LossRule(pair=0.5), 4), (LossRule(main="sampled", negatives=16), 4), (LossRule(targets="all"), 3)],
)
def test_track_that_everybody_refuses_is_not_proposed(tmp_path: Path, loss: LossRule, proposed: int) -> None:
    """In one ring the fourth track always follows the third and is always skipped.

    Trained on kept tracks, the network proposes the fifth. Trained on all tracks, it proposes the fourth. So the choice of
    targets makes the difference.
    """
    worst = FIRST + 3
    ring = [(FIRST + place % RING, SKIPPED if place % RING == 3 else PLAYED, TRAIN) for place in range(3 * RING)]
    split = split_of([ring[start:] for start in range(RING)] * 8, rows=FIRST + RING)
    recipe = small_recipe(loss=loss, fit=TO_THE_END)
    network = fit(recipe, split, Rising(), folder=tmp_path, console=Console(file=StringIO())).network
    [found] = scores(network, [RowHistory([worst - 3, worst - 2, worst - 1], [PLAYED] * 3)])

    assert int(found.argmax()) == proposed


def test_loss_falls(tmp_path: Path) -> None:
    """It starts at about the loss of a guess among twelve rows and the unknown one."""
    curve = [epoch.losses["loss"] for epoch in trained(small_recipe(fit=epochs(4)), tmp_path).epochs]

    assert curve[0] < np.log(2 * RING + 1) + 0.2
    assert curve == sorted(curve, reverse=True)


@pytest.mark.parametrize(
    ("killed_after", "rule"),
    [
        (0, epochs(4)),
        (1, epochs(4)),
        (2, replace(epochs(4), tables="sparse")),
        (3, epochs(4)),
        (2, replace(epochs(4), average=True)),
    ],
)
def test_killed_run_ends_with_the_very_weights_of_one_that_was_not(tmp_path: Path, killed_after: int, rule: FitRule) -> None:
    """The weights are equal bit for bit, with dropout and sampled negatives. The kill comes in validation, before the epoch is
    saved.
    """
    recipe = small_recipe(loss=LossRule(main="sampled", negatives=5, pair=0.5), fit=rule)
    script = [0.1, 0.3, 0.2, 0.25]
    whole = trained(recipe, tmp_path / "whole", Scripted(script))
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, tmp_path / "killed", Scripted([*script[:killed_after], None]))
    resumed = trained(recipe, tmp_path / "killed", Scripted(script[killed_after:]))

    assert same(weights_of(resumed.network), weights_of(whole.network))
    assert [(e.number, e.losses, e.scores) for e in resumed.epochs] == [(e.number, e.losses, e.scores) for e in whole.epochs]
    assert (resumed.best, resumed.sequences) == (whole.best, whole.sequences)


def test_average_of_the_weights_is_what_is_measured_and_kept(tmp_path: Path) -> None:
    """The steps are the same as in a run without an average. Validation and the fitted network get the mean by the formula."""
    recipe = small_recipe(fit=replace(epochs(2), batch=10_000))  # one step in an epoch
    steps, means = Scripted([0.1, 0.2]), Scripted([0.1, 0.2])
    trained(recipe, tmp_path / "steps", steps)
    fitted = trained(replace(recipe, fit=replace(recipe.fit, average=True)), tmp_path / "means", means)
    one, two = steps.weights

    assert same(means.weights[0], one)  # nine ninths of the way to the first
    for name, mean in means.weights[1].items():
        assert torch.allclose(mean, one[name] + (two[name] - one[name]) * 9 / 10)
    assert same(weights_of(fitted.network), means.weights[1])


def test_sparse_tables_have_no_average(tmp_path: Path) -> None:
    """An average would hold the tables twice. The run equals one without it."""
    loss = LossRule(main="sampled", negatives=5)
    plain, averaged = (
        trained(
            small_recipe(loss=loss, fit=replace(epochs(2), tables="sparse", average=average)), tmp_path / str(average)
        ).network
        for average in (False, True)
    )

    assert same(weights_of(plain), weights_of(averaged))


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    """The same command returns the same network at once: another validation would raise."""
    recipe = small_recipe(fit=epochs(2))
    first = trained(recipe, tmp_path)
    again = trained(recipe, tmp_path, Scripted([None]))

    assert same(weights_of(again.network), weights_of(first.network))


def test_without_a_validation_all_epochs_are_taken(tmp_path: Path) -> None:
    """All epochs are run and the last epoch's weights are kept, whatever the patience."""
    rule = epochs(3, patience=1)
    whole = trained(small_recipe(fit=rule), tmp_path / "whole", None)
    scored = trained(small_recipe(fit=rule), tmp_path / "scored", Rising())

    assert [epoch.scores for epoch in whole.epochs] == [{}, {}, {}]
    assert whole.best == 2
    assert same(weights_of(whole.network), weights_of(scored.network))
    assert same(weights_of(trained(small_recipe(fit=rule), tmp_path / "whole", None).network), weights_of(whole.network))


def test_killed_without_a_validation_it_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refit has no validation either.

    The kill comes after the second epoch's weights are kept, while the checkpoint still names the first epoch.
    """
    rule = epochs(3)
    whole = trained(small_recipe(fit=rule), tmp_path / "whole", None)
    save = Checkpoint.save

    def killed(checkpoint: Checkpoint, parts: Mapping[str, Part], done: list[Epoch], *rest: Any) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        save(checkpoint, parts, done, *rest)

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(small_recipe(fit=rule), tmp_path / "killed", None)
    monkeypatch.undo()

    assert same(weights_of(trained(small_recipe(fit=rule), tmp_path / "killed", None).network), weights_of(whole.network))


def test_another_number_of_processes_may_read_a_run_but_not_go_on_with_it(tmp_path: Path) -> None:
    """Each process has its own random numbers, so with more or fewer processes the result would belong to neither run."""
    recipe = small_recipe(fit=epochs(2))
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, tmp_path / "half", Scripted([0.1, None]))
    trained(recipe, tmp_path / "whole")
    for name in ("half", "whole"):
        state = torch.load(tmp_path / name / CHECKPOINT, weights_only=True)
        torch.save({**state, "random": state["random"] * 2}, tmp_path / name / CHECKPOINT)

    with pytest.raises(RunError, match=r"left by 2 process\(es\), this is one of 1.*start 2"):
        trained(recipe, tmp_path / "half")
    assert len(trained(recipe, tmp_path / "whole", Scripted([None])).epochs) == 2


def test_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    """It does not matter what state torch's random numbers had before."""
    one = trained(small_recipe(), tmp_path / "one")
    torch.rand(7)
    two = trained(small_recipe(), tmp_path / "two")

    assert same(weights_of(one.network), weights_of(two.network))


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    """Otherwise a spread over seeds would mean nothing."""
    one, two = (trained(small_recipe(seed=seed), tmp_path / str(seed)) for seed in (1, 2))

    assert not same(weights_of(one.network), weights_of(two.network))


@pytest.mark.parametrize("other", [small_recipe(seed=2), small_recipe(length=7), small_recipe(loss=LossRule(pair=0.1))])
def test_another_recipe_in_the_runs_folder_is_refused(tmp_path: Path, other: Recipe) -> None:
    """The weights of one recipe must not continue under the name of another."""
    trained(small_recipe(), tmp_path)
    with pytest.raises(RunError, match="was left by another run: its recipe or its data differ"):
        trained(other, tmp_path)


def test_another_log_in_the_runs_folder_is_refused(tmp_path: Path) -> None:
    """The same recipe over more listeners is another run."""
    trained(small_recipe(), tmp_path)
    with pytest.raises(RunError, match="was left by another run: its recipe or its data differ"):
        fit(small_recipe(), rings_split(61), steady, folder=tmp_path, console=Console(file=StringIO()))


def test_checkpoint_of_the_same_windows_with_other_outcomes_is_refused(tmp_path: Path) -> None:
    """The log has as many rows and entries as before, but one play of the training part is now a skip."""
    trained(small_recipe(), tmp_path)
    split = rings_split()
    outcomes = np.array(split.sequences.outcome)
    outcomes[0] = SKIPPED if outcomes[0] == PLAYED else PLAYED
    mended = replace(split, sequences=replace(split.sequences, outcome=outcomes))

    with pytest.raises(RunError, match="its data differ"):
        fit(small_recipe(), mended, steady, folder=tmp_path, console=Console(file=StringIO()))


@pytest.mark.parametrize("name", [CHECKPOINT, "best-*.pt"])
@pytest.mark.parametrize("damage", ["nothing left", "half of it", "no tensors", "a list"])
def test_damaged_checkpoint_is_said_in_a_sentence(tmp_path: Path, name: str, damage: str) -> None:
    """The sentence names the file and says what to do. There is no traceback."""
    trained(small_recipe(), tmp_path)
    [path] = tmp_path.glob(name)
    if damage == "a list":
        torch.save([1], path)
    else:
        path.write_bytes({"nothing left": b"", "half of it": path.read_bytes()[:1000], "no tensors": b"x" * 1000}[damage])

    with pytest.raises(RunError, match=rf"{path.name} (cannot be read|holds list).*`--anew` with the same train command"):
        trained(small_recipe(), tmp_path)


def test_loss_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """The run ends at that step with advice, and leaves no checkpoint to continue from."""
    recipe = small_recipe(fit=FitRule(epochs=3, learning_rate=1e30, warmup=0, batch=16))
    with pytest.raises(RunError, match=r"the loss became (nan|inf) at step \d+; a lower learning rate may help"):
        trained(recipe, tmp_path)

    assert not (tmp_path / CHECKPOINT).exists()


def test_training_stops_when_patience_runs_out(tmp_path: Path) -> None:
    """Training stops after two epochs without a better score. An equal score is not better."""
    fitted = trained(small_recipe(fit=epochs(9, patience=2)), tmp_path, Scripted([0.1, 0.4, 0.4, 0.3, 0.9]))

    assert [epoch.scores["ndcg@10"] for epoch in fitted.epochs] == [0.1, 0.4, 0.4, 0.3]


def test_best_epochs_weights_are_kept(tmp_path: Path) -> None:
    """The fitted network has the weights of the best epoch, not of the last one."""
    validate = Scripted([0.1, 0.4, 0.3, 0.2])
    fitted = trained(small_recipe(fit=epochs(4)), tmp_path, validate)

    assert fitted.best == 1
    assert same(weights_of(fitted.network), validate.weights[1])
    assert not same(validate.weights[1], validate.weights[3])


def test_validation_that_gives_nothing_to_select_by_is_refused(tmp_path: Path) -> None:
    """The validation part is empty, or has no refused track for the AUC."""
    with pytest.raises(RunError, match=r"no case that gives ndcg@10.*found \['hr@20'\]"):
        trained(small_recipe(), tmp_path, lambda _: {"hr@20": 0.5})


def test_warmup_reaches_the_learning_rate_step_by_step(tmp_path: Path) -> None:
    """A run that never leaves its warm-up moves less than one without a warm-up."""
    moved = {}
    for warmup in (0, 1000):
        rule = FitRule(epochs=1, batch=16, warmup=warmup, learning_rate=1e-3)
        fitted = trained(small_recipe(fit=rule), tmp_path / str(warmup))
        moved[warmup] = fitted.network.get_parameter("start").abs().max().item()

    assert 0 < moved[1000] < moved[0] / 10


def test_checkpoint_runs_no_code_when_read(tmp_path: Path) -> None:
    """It loads with torch's `weights_only`, and its curves are plain numbers."""
    trained(small_recipe(), tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)

    assert json.dumps(state["epochs"])
    assert state["identity"]["recipe"] == small_recipe().as_dict()


def test_progress_is_shown_with_the_score(tmp_path: Path) -> None:
    """The output shows that training advances, and the validation score."""
    out = StringIO()
    fit(small_recipe(), SPLIT, steady, folder=tmp_path, console=Console(file=out, width=120, force_terminal=True))

    assert "training small" in out.getvalue()
    assert "ndcg@10 0.5000" in out.getvalue()


def test_full_disk_ends_a_run_with_the_file_that_could_not_be_written(tmp_path: Path) -> None:
    """The error names the file instead of torch's own text."""
    (tmp_path / "best-0.draft").symlink_to("/dev/full")

    with pytest.raises(RunError, match=r"best-0\.pt cannot be written"):
        trained(small_recipe(), tmp_path)
