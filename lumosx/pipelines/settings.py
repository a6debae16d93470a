"""Settings: everything about one clip that is neither the scene's content nor the model.

Each value has one source, the first that states it: the call, the scene, the checkpoint, Wan's own defaults.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from lumosx.errors import InputError
from lumosx.scene import Scene

# Wan2.1's own, published with its weights; the release samples with it too.
WAN_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("frames", "steps"), (int,)),
    **dict.fromkeys(("fps", "shift", "cfg", "cfg_image"), (int, float)),
}


@dataclass(frozen=True)
class Settings:
    """How to sample. The defaults are Wan2.1's published ones, with the release's solver and shift."""

    size: str = "832x480"  # width x height, pixels
    frames: int = 81
    fps: float = 16
    steps: int = 50
    solver: str = "dpm++"
    shift: float = 8.0
    cfg: float = 6.0  # 1: no guidance, one pass a step
    cfg_image: float | None = None  # a number: separate guidance by the references, three passes a step
    negative_prompt: str = WAN_NEGATIVE_PROMPT

    def __post_init__(self) -> None:
        for name, kinds in KINDS.items():
            value = getattr(self, name)
            optional = name == "cfg_image" and value is None
            if not optional and (not isinstance(value, kinds) or isinstance(value, bool)):
                raise InputError(f"{name} is {'a number' if float in kinds else 'a whole number'}, not {value!r}")
        if not re.fullmatch(r"\d{1,5}x\d{1,5}", str(self.size)):
            raise InputError(f"size is WIDTHxHEIGHT in pixels such as 832x480, not {self.size!r}")
        if not self.fps > 0:
            raise InputError(f"fps is a number above 0, not {self.fps!r}")
        if self.cfg < 0 or (self.cfg_image or 0) < 0:
            raise InputError(f"cfg {self.cfg} and cfg_image {self.cfg_image}: a guidance scale is 0 or more")

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.size.split("x")[0])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.size.split("x")[1])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the sidecar."""
        return asdict(self)


def resolve_settings(
    scene: Scene, checkpoint: Mapping[str, Any] | None = None, call: Mapping[str, Any] | None = None
) -> tuple[Settings, tuple[int, ...]]:
    """The settings and seeds of a clip.

    Args:
        scene: of its `generation` section and negative prompt, what is stated.
        checkpoint: the checkpoint's `generation`, keys as in a scene.
        call: arguments of the call; None is not stated.

    Raises:
        InputError: a key that no scene knows, a value of the wrong kind, or seeds that are not usable.
    """
    stated = {key: value for key, value in (call or {}).items() if value is not None}
    written = scene.generation.model_dump(exclude_none=True)
    if scene.negative_prompt is not None:
        written["negative_prompt"] = scene.negative_prompt
    known = {field.name for field in fields(Settings)}
    values: dict[str, Any] = {}
    seeds: tuple[int, ...] = (1024,)
    for origin, source in (
        ("the checkpoint", checkpoint or {}),
        ("the scene", written),
        ("the call", stated),
    ):
        source = dict(source)
        seeds = _stated_seeds(origin, source) or seeds
        if unknown := sorted(set(source) - known):
            raise InputError(f"{origin} states {', '.join(unknown)}; known are {', '.join(sorted(known))}, seed, seeds")
        values |= source
    return Settings(**values), seeds


def _stated_seeds(origin: str, source: dict[str, Any]) -> tuple[int, ...]:
    """Takes seed or seeds out of `source`; () if it states neither."""
    stated = [key for key in ("seed", "seeds") if key in source]
    if not stated:
        return ()
    if len(stated) == 2:
        raise InputError(f"{origin} states both seed and seeds; keep one")
    value = source.pop(stated[0])
    seeds = tuple(value) if isinstance(value, list | tuple | range) else (value,)
    if not seeds:
        raise InputError(f"{origin} states no seeds; give one or more, or leave `seeds` out")
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise InputError(f"{origin}: a seed is a whole number from 0 up, not {seed!r}")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"{origin} states a seed twice in {list(seeds)}; keep each once")
    return seeds
