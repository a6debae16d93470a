"""What the data of a run is: where clips come from, how they are grouped, varied and dropped."""

from dataclasses import dataclass, field

from lumosx.references import Augmentation


@dataclass
class DataConfig:
    """Clips and how they are varied. Everything random is keyed by (seed, sample, purpose)."""

    path: str | None = None  # clip records (README, "Your own clips"); None: the playground, endless
    buckets: list[str] = field(default_factory=lambda: ["64x64x17"])  # WIDTHxHEIGHTxFRAMES; a step has one of them
    fps: float = 16.0  # of the clips that the model sees; records are resampled to it
    subjects: list[float] = field(default_factory=lambda: [0.25, 0.55, 0.2])  # shares of clips with 1, 2 ... people
    placed: float = 0.4  # playground: the share of captions that say who stands where
    noises: int = 1  # noisy copies of each clip, which share one pass over its references
    text_dropout: float = 0.1
    reference_dropout: float = 0.0  # clips that lose all references, for image guidance
    entity_dropout: float = 0.0  # single references that are lost
    shuffle: bool = False  # subjects and each one's attributes in random order
    scatter: bool = False  # references in random order and nobody's own: an ablation without the order of the file
    other_frames: bool = True  # pictures from outside the shown window first, where a record has several
    augment: Augmentation | None = None  # of reference pictures, paper B.2
    variants: int | None = None  # draws of window, pictures and augmentation a clip has; None: a new one each visit
    cache: str | None = None  # a folder that `lumosx cache` filled; it needs `variants`
    broken: int = 100  # samples that may fail to load before the run stops
    workers: int = 1
