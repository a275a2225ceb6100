"""TensorBoard: event files, in the folder `tensorboard` of the run unless another one is named."""

import time
from pathlib import Path
from typing import Any

from ssm_hpn.callbacks import Callback, Event
from ssm_hpn.trackers.rows import metrics, package, settings


class TensorBoard(Callback):
    """Writes the rows of a run as scalars of TensorBoard: `tensorboard --logdir runs`.

    Parameters
    ----------
    folder
        Of the event files; default: `tensorboard` in the folder of the run.

    A run that is resumed from a checkpoint writes another file, which tells TensorBoard to drop what came after the
    checkpoint. Raises `ConfigError` at the start where the package `tensorboard` is missing.

    >>> from ssm_hpn.trackers import TensorBoard
    >>> TensorBoard(folder="logs").name
    'tensorboard'
    """

    name = "tensorboard"

    def __init__(self, folder: Path | str | None = None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._writer: Any = None
        self._event: Any = None
        self._summary: Any = None

    def started(self, event: Event) -> None:
        """Open a file, and write the settings into it."""
        writers = package("tensorboard.summary.writer.event_file_writer", extra="tensorboard")
        self._event = package("tensorboard.compat.proto.event_pb2", extra="tensorboard")
        self._summary = package("tensorboard.compat.proto.summary_pb2", extra="tensorboard")
        self._writer = writers.EventFileWriter(str(self._folder or event.folder / "tensorboard"))
        if event.checkpoint is not None:
            log = self._event.SessionLog(status=self._event.SessionLog.START)
            self._add(event.progress.step + 1, session_log=log)
        self._text("settings", "\n".join(f"    {name} = {value}" for name, value in settings(event).items()), event)

    def logged(self, event: Event) -> None:
        """Write a row."""
        values = [self._summary.Summary.Value(tag=tag, simple_value=one) for tag, one in metrics(event.row).items()]
        self._add(event.progress.step, summary=self._summary.Summary(value=values))

    def saved(self, event: Event) -> None:  # noqa: ARG002 - argument of the base class
        """Write what is in memory."""
        self._writer.flush()

    def ended(self, event: Event) -> None:  # noqa: ARG002 - argument of the base class
        """Close the file."""
        self._writer.close()

    def failed(self, event: Event) -> None:
        """Close the file."""
        if self._writer is not None:
            self.ended(event)

    def _text(self, tag: str, text: str, event: Event) -> None:
        """A text, which TensorBoard shows as Markdown."""
        tensors = package("tensorboard.compat.proto.tensor_pb2", extra="tensorboard")
        types = package("tensorboard.compat.proto.types_pb2", extra="tensorboard")
        shapes = package("tensorboard.compat.proto.tensor_shape_pb2", extra="tensorboard")
        shape = shapes.TensorShapeProto(dim=[shapes.TensorShapeProto.Dim(size=1)])
        tensor = tensors.TensorProto(dtype=types.DT_STRING, string_val=[text.encode()], tensor_shape=shape)
        plugin = self._summary.SummaryMetadata.PluginData(plugin_name="text")
        about = self._summary.SummaryMetadata(plugin_data=plugin)
        value = self._summary.Summary.Value(tag=tag, tensor=tensor, metadata=about)
        self._add(event.progress.step, summary=self._summary.Summary(value=[value]))

    def _add(self, step: int, **content: Any) -> None:  # noqa: ANN401 - one field of the message
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=step, **content))
