"""Which clips make up which step: a pure function of the seed, the clips and the settings.

Nothing here knows ranks or workers: a plan is the batch of all of them, and a run goes on from a plan's position as if
it had never stopped. All clips of a step are of one bucket, so that all ranks have equal work.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lumosx.data.batch import Bucket
from lumosx.data.buckets import Pool, Pools
from lumosx.data.keyed import keyed_generator
from lumosx.errors import InputError


@dataclass(frozen=True)
class Pick:
    """One clip of a step."""

    sample: str  # the key of all that is drawn for it, such as clip-12#3
    index: int  # its record's place in the list of records
    visit: int  # rounds that its pool had made before


@dataclass(frozen=True)
class StepPlan:
    """The global batch of one step."""

    step: int
    bucket: Bucket
    picks: list[Pick]
    position: dict[str, Any]  # where the next step starts; JSON-able


class PickSource(Protocol):
    """Where picks come from: the records of a data set, or the endless playground."""

    def plans(self, position: dict[str, Any] | None = None) -> Iterator[StepPlan]:
        """The steps behind `position` (of an earlier plan; None: from the first), without end."""
        ...

    def replacements(self, pick: Pick) -> Iterator[Pick]:
        """Clips that can stand in for one that is broken, in an order keyed by its sample."""
        ...


class StepSampler:
    """Draws from pools of records: a PickSource, and an iterable whose state can be saved.

    A step's bucket is drawn by the shares of its pools, then each pick's pool within the bucket, so that over a run
    every pool gets its share. Each pool goes round its records in a new keyed order every time and counts its picks;
    these counts and the step's number are the whole position, which therefore suits any batch size.

    Args:
        ids: of all records, in their order.
        pools: of the records to draw from.
        seed: of the run.
        batch: clips a step, over all ranks.
    """

    def __init__(self, ids: Sequence[str], pools: Pools, *, seed: int, batch: int) -> None:
        self.ids, self.members, self.seed, self.batch = ids, pools.members, seed, batch
        self._of_bucket: dict[Bucket, list[Pool]] = {}
        for pool in sorted(pools.members):
            self._of_bucket.setdefault(pool.bucket, []).append(pool)
        self._buckets = list(self._of_bucket)
        self._shares = {
            bucket: torch.tensor([pools.shares[pool] for pool in group], dtype=torch.float64)
            for bucket, group in self._of_bucket.items()
        }
        self._bucket_shares = torch.stack([shares.sum() for shares in self._shares.values()])
        self._orders: dict[Pool, tuple[int, NDArray[np.int64]]] = {}  # each pool's latest round
        self._clips = _fingerprint(ids, pools)
        self._state = self._position(*self._read(_START))

    def plans(self, position: dict[str, Any] | None = None) -> Iterator[StepPlan]:
        """The steps behind `position` (of an earlier plan; None: from the first), without end.

        Raises:
            InputError: the position counts other clips than these. One without its `clips` is taken as it is.
        """
        step, drawn = self._read(position or _START)
        while True:
            bucket, pools = self._mixture(step)
            picks = []
            for pool in pools:
                picks.append(self._pick(pool, drawn[pool]))
                drawn[pool] += 1
            step += 1
            yield StepPlan(step - 1, bucket, picks, self._position(step, drawn))

    def replacements(self, pick: Pick) -> Iterator[Pick]:
        """The other clips of the pick's pool in an order keyed by its sample."""
        members = next(members for members in self.members.values() if pick.index in members)
        generator = keyed_generator(self.seed, pick.sample, "replacement")
        for place in torch.randperm(len(members), generator=generator).numpy():
            index = int(members[place])
            if index != pick.index:
                yield Pick(f"{self.ids[index]}#{pick.visit}", index, pick.visit)

    def __iter__(self) -> Iterator[StepPlan]:
        """Steps from the state, which moves along."""
        for plan in self.plans(self._state):
            self._state = plan.position
            yield plan

    def state_dict(self) -> dict[str, Any]:
        """The position behind the last step that iterating gave."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there.

        Raises:
            InputError: see `plans`.
        """
        self._state = self._position(*self._read(state))

    def _mixture(self, step: int) -> tuple[Bucket, list[Pool]]:
        generator = keyed_generator(self.seed, step, "bucket")
        bucket = self._buckets[int(torch.multinomial(self._bucket_shares, 1, generator=generator))]
        generator = keyed_generator(self.seed, step, "pools")
        draws = torch.multinomial(self._shares[bucket], self.batch, replacement=True, generator=generator)
        return bucket, [self._of_bucket[bucket][place] for place in draws.tolist()]

    def _pick(self, pool: Pool, drawn: int) -> Pick:
        members = self.members[pool]
        visit, place = divmod(drawn, len(members))
        index = int(members[self._order(pool, visit)[place]])
        return Pick(f"{self.ids[index]}#{visit}", index, visit)

    def _order(self, pool: Pool, visit: int) -> NDArray[np.int64]:
        if self._orders.get(pool, (None,))[0] != visit:
            generator = keyed_generator(self.seed, f"{pool}/{visit}", "order")
            self._orders[pool] = visit, torch.randperm(len(self.members[pool]), generator=generator).numpy()
        return self._orders[pool][1]

    def _position(self, step: int, drawn: Counter[Pool]) -> dict[str, Any]:
        return {"step": step, "drawn": {str(pool): count for pool, count in drawn.items()}, "clips": self._clips}

    def _read(self, position: dict[str, Any]) -> tuple[int, Counter[Pool]]:
        if position.get("clips", self._clips) != self._clips:
            raise InputError(
                "the clips or their buckets are not those that this run has drawn from so far: "
                "their order would change. Bring the former ones back, or start another run"
            )
        return position["step"], Counter({pool: position["drawn"].get(str(pool), 0) for pool in self.members})


_START = {"step": 0, "drawn": {}}


def _fingerprint(ids: Sequence[str], pools: Pools) -> str:
    """A short hash of which clips are in which pool."""
    digest = hashlib.sha256()
    for pool in sorted(pools.members):
        places: list[int] = pools.members[pool].tolist()
        digest.update("\n".join([str(pool), *(ids[place] for place in places), ""]).encode())
    return digest.hexdigest()[:16]
