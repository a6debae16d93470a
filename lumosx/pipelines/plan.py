"""What a clip will take before anything is loaded: its tokens, its FLOPs, and what text encoder and codec take for it.

Counted where it can be (on the meta device, `lumosx.models.counting`), else calculated (`lumosx.models.cost`). Only
configuration files are read, so a checkpoint's folder needs no weights. `lumosx.pipelines.ways` says what a way to
sample it takes in memory and time, `lumosx.pipelines.advice` chooses one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from huggingface_hub import try_to_load_from_cache

from lumosx.errors import InputError
from lumosx.flow import make_solver
from lumosx.models import cost, counting
from lumosx.models.caching import are_cacheable
from lumosx.models.codec import CODECS
from lumosx.models.configs import WAN, part_config, transformer_defaults
from lumosx.models.counting import Cost
from lumosx.models.grid import Grid
from lumosx.paths import checkpoint_path, names_repository
from lumosx.pipelines.branches import branch_layouts
from lumosx.pipelines.limits import expect_positions
from lumosx.pipelines.settings import Settings, resolve_settings
from lumosx.relations import TokenLayout, bound_layout
from lumosx.relations.batch import Part
from lumosx.relations.bound import chosen_relations
from lumosx.relations.typical import typical_layout
from lumosx.scene import Binding, Scene

BUILT_IN = "wan-1.3b"


@dataclass(frozen=True)
class Model:
    """What the configuration files of a checkpoint say."""

    name: str
    transformer: Mapping[str, Any]
    codec: dict[str, Any]
    text_encoder: dict[str, Any]
    text_length: int
    generation: Mapping[str, Any] | None
    folder: Path | None  # where a tokenizer may lie


class Once(NamedTuple):
    """FLOPs that a clip takes beside its steps."""

    text_encoder: int
    text_cache: int
    pictures: int
    reference_cache: int
    decoding: int


@dataclass(frozen=True)
class Plan:
    """A clip of `layout` by `model`."""

    model: Model
    settings: Settings
    seeds: int
    layout: TokenLayout
    names: tuple[str, ...]  # of the references

    @property
    def grid(self) -> Grid:
        """How the model cuts a clip up."""
        return _grid(self.model)

    @cached_property
    def branches(self) -> list[TokenLayout]:
        """Of the passes of a step."""
        return branch_layouts(self.layout, self.settings)

    @property
    def cached(self) -> bool:
        """Whether references are computed once for all steps."""
        return are_cacheable([self.layout], self.model.transformer["reference_timestep"])

    def part(self, branch: TokenLayout) -> Part:
        """What goes through the blocks in a step."""
        return "video" if self.cached and branch.references else "joint"

    def step(self, batch: int = 1, own: Sequence[TokenLayout] | None = None) -> cost.Flops:
        """FLOPs of a step of `batch` seeds together, of all branches or of those in `own`."""
        return cost.sum_flops(
            cost.flops_by_part(self.model.transformer, [branch], batch, self.part(branch), text_cached=True)
            for branch in (self.branches if own is None else own)
        )

    @cached_property
    def paper_step(self) -> int:
        """FLOPs of a step as the paper counts them."""
        return sum(cost.paper_flops(self.model.transformer, branch) for branch in self.branches)

    @cached_property
    def once(self) -> Once:
        """FLOPs beside the steps."""
        transformer, cached = self.model.transformer, [b for b in self.branches if self.part(b) == "video"]
        fill = (cost.flops_by_part(transformer, [b], part="references", text_cached=True).total for b in cached)
        return Once(
            self.text_encoding.flops,
            len(self.branches) * cost.text_flops(transformer, self.model.text_length).total,
            len(self.layout.references) * self.picture[0].flops,
            sum(fill),
            self.decoding[0].flops,
        )

    @cached_property
    def codec(self) -> Any:
        """On the meta device."""
        return counting.build_codec(self.model.codec)

    @cached_property
    def text_encoder(self) -> Any:
        """On the meta device."""
        return counting.build_text_encoder(self.model.text_encoder)

    @cached_property
    def text_encoding(self) -> Cost:
        """Of the prompts, in bfloat16."""
        encoder = self.text_encoder.to(torch.bfloat16)
        return counting.text_encoding(encoder, min(len(self.branches), 2), self.model.text_length)

    @property
    def tileable(self) -> bool:
        """Whether the codec can work in tiles."""
        return counting.has_tiles(self.codec)

    @cached_property
    def picture(self) -> tuple[Cost, Cost]:
        """Of one reference's latents: whole, and in tiles."""
        return counting.picture_encoding(self.codec, self.settings.width, self.settings.height)

    @cached_property
    def decoding(self) -> tuple[Cost, Cost]:
        """Of the clip's frames: whole, and in tiles."""
        return counting.decoding(self.codec, self.grid.latents(self.settings))


def read_model(name: str) -> Model:
    """The configuration of a checkpoint: a folder, a name, a repository of the hub, or `BUILT_IN`.

    Raises:
        InputError: nothing of that name here, or a configuration that is not known.
    """
    if name == BUILT_IN:
        return Model(name, transformer_defaults(), WAN["vae"], WAN["text_encoder"], 512, None, None)
    folder = None if names_repository(name) else checkpoint_path(name)
    index = _index(name, folder)
    defaults, where = transformer_defaults(), str(folder or name)
    stated = part_config("--model", where, "transformer")
    codec = WAN["vae"] | part_config("--model", where, "vae")
    if codec["_class_name"] not in CODECS:
        raise InputError(f"--model {name}: its codec is of class {codec['_class_name']}; known are {', '.join(CODECS)}")
    return Model(
        name,
        defaults | {key: value for key, value in stated.items() if key in defaults},
        codec,
        part_config("--model", where, "text_encoder"),
        index.get("text_length", 512),
        index.get("generation"),
        folder,
    )


def _index(name: str, folder: Path | None) -> dict[str, Any]:
    """`model_index.json`; empty for a repository that has not been downloaded."""
    file = try_to_load_from_cache(name, "model_index.json") if folder is None else str(folder / "model_index.json")
    if not isinstance(file, str):
        return {}
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--model {name}: {file} cannot be read: {error}") from error


def make_plan(scene: Scene, model: Model, call: Mapping[str, Any], references: int | None = None) -> Plan:
    """Plans a clip of a scene.

    Args:
        call: settings that go over the scene's, as for `LumosXPipeline.stream`.
        references: so many typical references instead of the scene's own.

    Raises:
        InputError: a setting that the model cannot serve.
        SceneError: words of the scene cannot be bound to the model's tokens.
    """
    settings, seeds = resolve_settings(scene, model.generation, call)
    grid, own = _grid(model), model.transformer
    grid.check(settings)
    make_solver(settings.solver, settings.steps, settings.shift)
    options, video = scene.binding, grid.tokens(settings)
    relations = chosen_relations(options, own)
    if references is None:
        rules = options.rules or own["rules"]
        binding = _binding(scene, model, rules)
        layout = bound_layout(binding, video, model.text_length, **relations, rules=rules)
        names = tuple(entity.id for entity in binding.references)
    else:
        layout = typical_layout(video, references, model.text_length, **relations)
        names = tuple(_typical_name(layout, index) for index in range(references))
    expect_positions(layout, SimpleNamespace(**own))
    return Plan(model, settings, len(seeds), layout, names)


def _binding(scene: Scene, model: Model, rules: Any) -> Binding:
    """The scene's words as tokens; without a tokenizer each reference is named by one: costs are the same."""
    if model.folder is not None and (model.folder / "tokenizer").is_dir():
        from transformers import AutoTokenizer

        return scene.bind(AutoTokenizer.from_pretrained(model.folder / "tokenizer"), model.text_length, rules=rules)
    pictured = tuple(entity for entity in scene.entities if entity.image is not None)
    words = [[number] if entity.spans else [] for number, entity in enumerate(pictured)]
    return Binding(scene.prompt, pictured, words, None, [])


def _typical_name(layout: TokenLayout, index: int) -> str:
    segment = layout.segments[1 + index]
    if segment.subject is None:
        return segment.role
    return f"person {segment.subject + 1}: " + (f"attribute {segment.member}" if segment.member else "face")


def _grid(model: Model) -> Grid:
    codec = model.codec
    return Grid(codec["scale_factor_spatial"], codec["scale_factor_temporal"], tuple(model.transformer["patch_size"]))
