"""Opens an artifact's graphs in ONNX Runtime and detects changes of their weights.

The caller sets the number of threads, because ONNX Runtime would use all cores. Threads do not spin between runs, since
spinning keeps a core busy for nothing.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from model.artifact import FURTHER_INPUTS, Artifact, ArtifactError
from model.artifact_files import FileState, system_errors_named

_FATAL = 4


class OpenFile:
    """A file that stays open, so that a change of its content is detected even if another file has taken its name."""

    def __init__(self, path: Path, verified: FileState) -> None:
        with system_errors_named(path):
            self._file = path.open("rb")  # closed when this object is deleted; until then the graphs map the file
        self._path, self._verified = path, verified
        self.check()

    def check(self) -> None:
        """Raise ArtifactError if the file was written to since its verification."""
        found = FileState.of(os.fstat(self._file.fileno()))
        if found != self._verified:
            raise ArtifactError(
                f"{self._path} was changed in place after it was verified: it had {self._verified.bytes} bytes and has "
                f"{found.bytes} now. Its graphs cannot be used any more; load an artifact that is whole"
            )

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def open_session(
    artifact: Artifact, name: str, inputs: Sequence[str], known: Sequence[str], threads: int
) -> onnxruntime.InferenceSession:
    """Open one graph. ArtifactError if it does not load, or if its inputs are not those that the manifest lists.

    `inputs` are the names that the manifest lists. The graph must read all of `known`.
    """
    path = artifact.folder / name
    try:
        session = onnxruntime.InferenceSession(path, _options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        raise ArtifactError(f"{path} does not load in ONNX Runtime {onnxruntime.__version__}: {one_line(error)}") from error
    found = [tensor.name for tensor in session.get_inputs()]
    fed = {*known, *FURTHER_INPUTS}
    if sorted(found) != sorted(inputs) or not set(known) <= set(inputs) <= fed:
        raise ArtifactError(f"{path}: found inputs {found}, the manifest says {list(inputs)}; this version feeds {sorted(fed)}")
    return session


def one_line(error: Exception) -> str:
    """Return the beginning of an error's text, on one line."""
    return " ".join(str(error).split())[:300]


def _options(threads: int) -> onnxruntime.SessionOptions:
    onnxruntime.disable_telemetry_events()  # nothing about a service's use is sent to others
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Memory patterns are cached for each shape of the inputs, and there are thousands of shapes: 18 MB more, and no faster.
    options.enable_mem_pattern = False
    options.log_severity_level = _FATAL  # errors are raised as well, and writing to stderr may block
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
