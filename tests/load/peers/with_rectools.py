"""Runs RecTools' SASRec or eSASRec on an exported split: `python with_rectools.py FOLDER`, in RecTools' environment.

It reads the files of `tests.load.peers.exchange` and trains with RecTools' own data preparator, network, loss and Lightning
loop. After each epoch it answers every validation case from its history, over the full catalogue. If the epoch is better than
those before, it also answers the test cases and saves both lists. Like ours, the epoch is chosen by NDCG@10 of kept targets.
Only the time of the epochs is measured here; our own metrics rank the lists.

Shapes: C cases, L places of a list, T time, V tracks that RecTools knows, D width.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped,import-not-found,unused-ignore]  # in an environment of its own
import torch
from pytorch_lightning import Callback, Trainer, seed_everything  # type: ignore[import-not-found,unused-ignore]  # as above
from rectools import Columns  # type: ignore[import-not-found,unused-ignore]  # as above
from rectools.dataset import Dataset  # type: ignore[import-not-found,unused-ignore]  # as above
from rectools.models import SASRecModel  # type: ignore[import-not-found,unused-ignore]  # as above
from rectools.models.nn.transformers.ligr import LiGRLayers  # type: ignore[import-not-found,unused-ignore]  # as above

LIST, AT_A_TIME = 20, 256
Arrays = dict[str, npt.NDArray[Any]]


class Answering(Callback):  # type: ignore[misc,unused-ignore]  # as above
    """Measures the time of epochs, answers the cases after each, and stops after `patience` epochs without a better one."""

    def __init__(self, folder: Path, settings: dict[str, Any], sequences: int) -> None:
        self._folder, self._settings, self._sequences = folder, settings, sequences
        self._valid, self._test = (dict(np.load(folder / f"{part}.npz")) for part in ("valid", "test"))
        self._best, self._since = -1.0, 0

    def on_train_epoch_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        seconds = time.perf_counter() - self._started
        answers = self._answer(module, self._valid)
        hits = (answers["lists"] == self._valid["target"][:, None])[self._valid["wanted"], :10]
        ndcg = float(np.mean(hits.any(axis=1) / np.log2(hits.argmax(axis=1) + 2)))
        self._since += 1
        if ndcg > self._best:
            self._best, self._since = ndcg, 0
            for part, found in (("valid", answers), ("test", self._answer(module, self._test))):
                np.savez(self._folder / f"{part}-lists.npz", lists=found["lists"], scores=found["scores"])
        line = {"epoch": trainer.current_epoch, "seconds": seconds, "sequences": self._sequences, "score": ndcg}
        with (self._folder / "epochs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        trainer.should_stop = self._since >= self._settings["patience"]

    @torch.no_grad()
    def _answer(self, module: Any, cases: Arrays) -> Arrays:
        """Return the best tracks of each case as our rows: lists [C, L] and scores [C, L]."""
        network = module.torch_model.eval()
        items_VD = network.item_model.get_all_embeddings()
        ours_V = np.array([0, *module.data_preparator.get_known_item_ids()], np.int64)
        theirs = np.zeros(max(self._settings["rows"], ours_V.max() + 1), np.int64)
        theirs[ours_V[1:]] = np.arange(1, len(ours_V))
        lists, scores = [], []
        for start in range(0, len(cases["target"]), AT_A_TIME):
            batch = _padded(cases, start, theirs, self._settings["length"])
            state_BD = network.encode_sessions({"x": torch.from_numpy(batch)}, items_VD)[:, -1]
            score_BV = state_BD @ items_VD.T
            score_BV[:, 0] = -torch.inf
            best, places = score_BV.topk(LIST)
            lists.append(ours_V[places.numpy()])
            scores.append(best.numpy())
        network.train()
        return {"lists": np.concatenate(lists), "scores": np.concatenate(scores)}


def _padded(cases: Arrays, start: int, theirs: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Return the newest known tracks of a batch of histories in RecTools' numbers, padded on the left."""
    stops = cases["stops"][start : start + AT_A_TIME]
    batch = np.zeros((len(stops), length), np.int64)
    for line, (first, stop) in enumerate(zip(cases["starts"][start : start + AT_A_TIME], stops, strict=True)):
        history = theirs[cases["rows"][first:stop]]
        history = history[history > 0][-length:]
        if len(history):
            batch[line, -len(history) :] = history
    return batch


def _dataset(train: Arrays) -> tuple[Any, int]:
    """Make RecTools' dataset of the training part. Also returns its number of sequences, which have two tracks or more."""
    lengths = np.diff(train["offsets"])
    frame = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(lengths)), lengths),
            Columns.Item: train["rows"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(train["rows"])), unit="s"),
        }
    )
    return Dataset.construct(frame), int((lengths >= 2).sum())


def trainer(folder: str, sequences: int) -> Any:
    """Return Lightning's trainer. RecTools looks the function up by name in this module."""
    settings = json.loads((Path(folder) / "settings.json").read_text("utf-8"))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "enable_checkpointing": False}
    callbacks = [Answering(Path(folder), settings, sequences)]
    return Trainer(max_epochs=settings["epochs"], accelerator="cpu", devices=1, callbacks=callbacks, **quiet)


def main(folder: Path) -> None:
    """Train as `settings.json` says, and write epochs and lists into the folder."""
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    torch.set_num_threads(settings["threads"])
    seed_everything(settings["seed"])
    dataset, sequences = _dataset(dict(np.load(folder / "train.npz")))
    layers = {"transformer_layers_type": LiGRLayers} if settings["ligr"] else {}
    model = SASRecModel(
        n_blocks=settings["layers"],
        n_heads=settings["heads"],
        n_factors=settings["width"],
        dropout_rate=settings["dropout"],
        session_max_len=settings["length"],
        loss="softmax" if settings["loss"] == "full" else "sampled_softmax",
        n_negatives=settings["negatives"],
        lr=settings["learning_rate"],
        batch_size=settings["batch"],
        epochs=settings["epochs"],
        get_trainer_func=trainer,
        get_trainer_func_kwargs={"folder": str(folder), "sequences": sequences},
        **layers,
    )
    model.fit(dataset)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
