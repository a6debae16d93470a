"""Makes the videos of a benchmark with a checkpoint: each case with each seed, resumable, none of them the end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lumosx.cli.sample import choose_device, is_finished, open_pipeline

if TYPE_CHECKING:
    from lumosx.evaluation.cases import Case
    from lumosx.evaluation.runner import Item
    from lumosx.pipelines import LumosXPipeline
    from lumosx.scene import Scene


def generate(
    cases: "Sequence[Case]", seeds: Sequence[int], checkpoint: str, device: str, folder: Path
) -> "Iterator[Item]":
    """The clip of each case and seed, in `folder` as <id>_s<seed>.mp4; those that stand there are not made again.

    The checkpoint is looked up at once, and nothing is made or written before the first clip is asked for.
    A case that the checkpoint cannot make (its words do not bind, or it fails while sampling) has no video, and the
    reason in its `problem`.

    Args:
        checkpoint: path, name or hub repository.
        device: auto, cpu, cuda.

    Raises:
        InputError: no such checkpoint or device.
    """
    maker = _Maker(checkpoint, device, tuple(seeds), folder)
    return chain.from_iterable(map(maker.items, cases))


@dataclass
class _Maker:
    checkpoint: str
    device: str
    seeds: tuple[int, ...]
    folder: Path
    pipeline: "LumosXPipeline | None" = None  # opened when the first clip is to be made

    def __post_init__(self) -> None:
        from lumosx.paths import resolve_checkpoint
        from lumosx.pipelines import LumosXPipeline
        from lumosx.pipelines.provenance import hash_files

        self.model = resolve_checkpoint(self.checkpoint, LumosXPipeline.download)
        self.place, self.kind = choose_device(self.device, "auto")
        self.stated: dict[str, Any] | None = LumosXPipeline.load_config(self.model).get("generation")
        self.hashes = {"files": hash_files(self.model), "dtype": str(self.kind).removeprefix("torch.")}

    def items(self, case: "Case") -> "Iterator[Item]":
        """The clips of a case, made where they are not there."""
        from lumosx.evaluation.runner import Item, described

        made: set[int] = set()
        try:
            for seed in self._made(case):
                made.add(seed)
                yield Item(case, seed, self._target(case, seed))
        except Exception as error:  # of this case, whatever it is: the others go on
            problem = described(error, "generation")
            yield from (Item(case, seed, None, problem) for seed in self.seeds if seed not in made)

    def _made(self, case: "Case") -> Iterator[int]:
        """The seeds of a case as their clips are there."""
        from lumosx.scene import Scene

        # Where and how it is written is the benchmark's business.
        data = {key: value for key, value in case.scene.items() if key != "output"}
        scene = Scene.from_dict(data, root=case.folder, source=case.id)
        left = [seed for seed in self.seeds if not self._finished(case, scene, seed)]
        yield from (seed for seed in self.seeds if seed not in left)
        if not left:
            return
        if self.pipeline is None:
            self.pipeline = open_pipeline(self.model, self.place, self.kind)
        for result in self.pipeline.stream(scene, seeds=left, progress=False):
            result.save(self._target(case, result.seed))
            yield result.seed

    def _finished(self, case: "Case", scene: "Scene", seed: int) -> bool:
        from lumosx.pipelines import resolve_settings
        from lumosx.pipelines.provenance import embed, fingerprint

        chosen, _ = resolve_settings(scene, self.stated, {"seeds": [seed]})
        made_of = fingerprint(embed(scene), chosen.to_dict(), seed, self.hashes)
        return is_finished(self._target(case, seed), made_of)

    def _target(self, case: "Case", seed: int) -> Path:
        return self.folder / f"{case.id}_s{seed}.mp4"
