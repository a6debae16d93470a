"""Checkpoints of a run: RUN/checkpoints/step-00000500/ from all ranks, and `latest`, which names the last whole one.

Tensors go through torch.distributed.checkpoint: each rank writes its own shards in the background, and another number
of ranks can read them. A folder is written beside its place, flushed and renamed before `latest` names it, so a kill at
any moment, during a save too, leaves the one before.
"""

import json
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from lumosx.errors import InputError
from lumosx.files import atomic, clear_leftovers, discard, rename_durably, write_json
from lumosx.training.ranks import Ranks

FACTS = "run.json"  # what is no tensor
# One process needs no process group, and would be told so at each save.
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)


@dataclass(frozen=True)
class _Save:
    """A save under way: what is written, where, and to which name it goes."""

    done: Future
    part: Path
    folder: Path


class Checkpoints:
    """The checkpoints of one run. All ranks call every method alike.

    Args:
        run: the run's folder.
        keep: how many stay.
    """

    def __init__(self, run: Path, ranks: Ranks, keep: int) -> None:
        self.folder, self.ranks, self.keep = run / "checkpoints", ranks, keep
        # its own group: the writing thread must not talk into the training's collectives
        self.group: Any = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._under_way: _Save | None = None
        if ranks.is_main:
            clear_leftovers(self.folder)
        ranks.barrier()

    def save(self, step: int, facts: dict[str, Any], tensors: dict[str, Any]) -> None:
        """Starts to save. Tensors are copied before this returns and written behind it.

        Args:
            facts: plain data, the same on every rank.
            tensors: a state for `torch.distributed.checkpoint`.
        """
        self.finish()
        folder = self.folder / f"step-{step:08d}"
        part = self.folder / f".{folder.name}.part"
        if self.ranks.is_main:
            part.mkdir(parents=True)
            write_json(facts, part / FACTS)
        self.ranks.barrier()
        writer = dcp.FileSystemWriter(part, sync_files=True)
        done = dcp.async_save(tensors, storage_writer=writer, process_group=self.group, no_dist=self.group is None)
        self._under_way = _Save(done, part, folder)  # pyright: ignore[reportArgumentType]  # no stager that splits it

    def poll(self) -> None:
        """Puts a save in its place if it is written. To be called once a step; never waits."""
        if self._under_way is not None and self._under_way.done.done():
            self._settle(self._under_way)

    def finish(self) -> None:
        """Waits for the save under way, on all ranks."""
        if self._under_way is not None:
            self._settle(self._under_way)
        self.ranks.barrier()

    def _settle(self, save: _Save) -> None:
        """The main rank's future ends when every rank has written: the index that it writes says what each wrote."""
        self._under_way = None
        save.done.result()
        if not self.ranks.is_main:
            return
        if save.folder.exists():  # of a kill between renaming and naming it the latest
            discard(save.folder)
        rename_durably(save.part, save.folder)
        with atomic(self.folder / "latest") as temporary:
            temporary.write_text(save.folder.name + "\n")
        # later ones are of a run that somebody set back; they stay until they are written anew
        so_far = sorted(old for old in self.folder.glob("step-*") if old.name <= save.folder.name)
        for old in so_far[: -self.keep]:
            discard(old)

    def latest(self) -> Path | None:
        """The last whole checkpoint, or None if the run has none yet: the main rank's answer, because others may see an
        older state of a shared disk.

        Raises:
            InputError: there should be one but it is gone; a run must not start anew over it.
        """
        found = last_checkpoint(self.folder) if self.ranks.is_main else None
        return self.ranks.gather(found)[0]  # pyright: ignore[reportReturnType]

    def facts(self, folder: Path) -> dict[str, Any]:
        """What was saved as plain data."""
        return json.loads((folder / FACTS).read_text())

    def load(self, folder: Path, tensors: dict[str, Any]) -> None:
        """Fills `tensors` in place.

        Raises:
            InputError: the checkpoint is damaged, or of another model.
        """
        try:
            reader = dcp.FileSystemReader(folder)
            dcp.load(tensors, storage_reader=reader, process_group=self.group, no_dist=self.group is None)
        except (Exception, dcp.CheckpointException) as error:  # the latter is a BaseException
            cause = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise InputError(
                f"checkpoint {folder} cannot be read: {cause}. If the disk failed for a moment, repeat the command; "
                f"else write another one's name into {self.folder / 'latest'}, or move {self.folder} away to start anew"
            ) from error

    def keys(self, folder: Path) -> list[str]:
        """Names of all that a checkpoint's tensors part holds."""
        return list(dcp.FileSystemReader(folder).read_metadata().state_dict_metadata)


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint below `folder`, a run's "checkpoints", or None if there is none yet.

    Raises:
        InputError: there should be one but it is gone; a run must not start anew over it.
    """
    pointer = folder / "latest"
    if not pointer.is_file():
        return None
    named = folder / pointer.read_text().strip()
    if not (named / FACTS).is_file():
        raise InputError(
            f"{pointer} names {named.name}, which is not there or not whole. Write another step's folder name "
            f"into {pointer}, or move {folder} away to start this run anew"
        )
    return named
