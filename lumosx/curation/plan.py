"""What a run would measure, why, and for how long, before it measures anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from lumosx.curation.ledger import Ledger
from lumosx.curation.run import Kind, Stages, Standing
from lumosx.curation.stage import fingerprints


@dataclass(frozen=True)
class Due:
    """A stage of a plan.

    stays, left: records that it measured before and that stay or left. due: those that it measures next. later: those
    that may still reach it. other: those of the due ones that it measured with other settings or models. seconds: what
    it took a record on average; None: nothing is known.
    """

    stage: str
    stays: int
    left: int
    due: int
    later: int
    other: int
    seconds: float | None

    @property
    def at_most(self) -> float | None:
        """Seconds of one process if every record reaches the stage."""
        return None if self.seconds is None else (self.due + self.later) * self.seconds


def plan(standings: Sequence[Standing], kinds: Sequence[Kind], stages: Stages, ledger: Ledger) -> list[Due]:
    """What is due of each stage.

    Args:
        standings: by `survey`.
        kinds: the stages that they go through, in order.
        stages, ledger: as of `survey`.
    """
    prints, rows = fingerprints(stages), []
    for number, kind in enumerate(kinds):
        everything = ledger.all_rows(kind.name)
        known = {row.record for row in everything if row.fingerprint != prints[kind]}
        taken = [row.seconds for row in everything if row.value is not None]
        waiting = [s.record.id for s in standings if s.waits is kind and kind not in s.values]
        rows.append(
            Due(
                stage=kind.name,
                stays=sum(kind in s.values and not (s.stopped and s.stopped[0] is kind) for s in standings),
                left=sum(s.stopped is not None and s.stopped[0] is kind for s in standings),
                due=len(waiting),
                later=sum(s.waits in kinds[:number] for s in standings),
                other=len(known.intersection(waiting)),
                seconds=sum(taken) / len(taken) if taken else None,
            )
        )
    return rows
