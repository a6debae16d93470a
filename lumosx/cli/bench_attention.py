"""`lumosx bench attention`: where attention goes while a checkpoint samples a scene, as in the paper's Figure 10."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumosx.errors import InputError
from lumosx.scene import Scene

if TYPE_CHECKING:
    import torch

    from lumosx.pipelines import LumosXPipeline
    from lumosx.pipelines.pipeline import Job
    from lumosx.scene import Entity

DEFAULT_MODEL = "checkpoints/lumosx-tiny"
INDICATION = (
    "an indication, not a measurement: video tokens may look at a face without drawing that person, and a model may "
    "bind in other ways"
)


def command(
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="A scene file (.yaml, .json).")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="For attention.json and attention.png.")],
    model: Annotated[str, typer.Option(metavar="PATH", help="Folder, name or hub repository.")] = DEFAULT_MODEL,
    seed: Annotated[int | None, typer.Option(min=0, metavar="N", help="Default: the scene's.")] = None,
    steps_at: Annotated[
        list[int] | None, typer.Option(min=1, metavar="N", help="A step to look at; repeatable (default: the middle).")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be repeated.")] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Show which segments and words attention goes to, layer by layer, and whose attributes meet whose faces.

    Example: lumosx bench attention configs/scenes/two_friends/scene.yaml --set binding.csam=false --out out/attention
    """
    from lumosx.cli.overrides import load_scene

    loaded = load_scene(scene, settings)

    from lumosx.cli.attention_figure import attention_png
    from lumosx.cli.sample import choose_device, open_pipeline
    from lumosx.files import atomic, write_json
    from lumosx.paths import resolve_checkpoint
    from lumosx.pipelines import LumosXPipeline

    pipeline = open_pipeline(resolve_checkpoint(model, LumosXPipeline.download), *choose_device(device, "auto"))
    study = sample_attention(pipeline, loaded, seed, steps_at or [])
    write_json(study.to_dict(), out / "attention.json")
    with atomic(out / "attention.png") as temporary:
        temporary.write_bytes(attention_png(study))
    _print_binding(study)
    typer.echo(f"wrote {out / 'attention.json'}, {out / 'attention.png'}")


@dataclass(frozen=True)
class Shares:
    """Means of one layer's attention at one step. Rows are segments, attributes in `binding`.

    segments [S, S], words [S, W], binding [attributes, subjects with a face]; see `lumosx.models.attention_maps`.
    """

    step: int
    layer: int
    segments: "torch.Tensor"
    words: "torch.Tensor"
    binding: "torch.Tensor"


@dataclass(frozen=True)
class AttentionStudy:
    """The attention of one clip's sampling: shares by step and layer, and what their rows and columns are.

    references: in token order; `columns` names the words' columns; `attributes` and `faces` number references.
    """

    model: str
    seed: int
    job: "Job"
    columns: list[str]
    attributes: list[int]
    faces: list[int]
    shares: list[Shares]

    @property
    def scene(self) -> Scene:
        """What was sampled."""
        return self.job.scene

    @property
    def references(self) -> "tuple[Entity, ...]":
        """In token order."""
        return self.job.binding.references

    @property
    def steps(self) -> list[int]:
        """The steps looked at, counted from 1."""
        return list(dict.fromkeys(share.step for share in self.shares))

    @property
    def layers(self) -> int:
        """How many the model has."""
        return 1 + max(share.layer for share in self.shares)

    def mean(self, table: str, layer: int | None = None) -> "torch.Tensor":
        """`segments`, `words` or `binding`, mean over the steps and over all layers or of one."""
        import torch

        chosen = [getattr(share, table) for share in self.shares if layer in (None, share.layer)]
        return torch.stack(chosen).mean(dim=0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for attention.json."""
        names, layout = [entity.id for entity in self.references], self.job.layout
        tables = ("segments", "words", "binding")
        rules = {"r2pe": layout.r2pe, "csam": layout.csam, "mcam_ratio": layout.mcam_ratio, "rules": layout.rules}
        return {
            "scene": self.scene.id,
            "prompt": self.job.binding.prompt,
            "model": self.model,
            "seed": self.seed,
            "settings": self.job.settings.to_dict(),
            "layout": {"video": list(layout.video), **rules},
            "segments": ["video", *names],
            "words": self.columns,
            "binding": {
                "rows": [names[index] for index in self.attributes],
                "columns": [names[index] for index in self.faces],
                "owner": [self.owner_column(index) for index in self.attributes],
                "meaning": INDICATION,
            },
            "mean": {table: _rounded(self.mean(table)) for table in tables},
            "maps": [
                {"step": s.step, "layer": s.layer, **{table: _rounded(getattr(s, table)) for table in tables}}
                for s in self.shares
            ],
        }

    def owner_column(self, attribute: int) -> int | None:
        """The column of the attribute's owner in `binding`; None if the owner has no picture of a face."""
        owners = [self.references[face].subject for face in self.faces]
        subject = self.references[attribute].subject
        return owners.index(subject) if subject in owners else None


def sample_attention(pipe: "LumosXPipeline", scene: Scene, seed: int | None, steps: Sequence[int]) -> AttentionStudy:
    """Samples a clip and looks at the prompt's branch at some steps, references in the sequence and not in a cache.

    Raises:
        InputError: a step that the sampling does not have, or a scene without references.
    """
    import torch

    from lumosx.models.attention_maps import by_segment, co_attention, observe_attention, word_columns

    job = pipe.prepare(scene, seed=seed)
    references, layout = job.binding.references, job.layout
    if not references:
        raise InputError(f"{scene.id} has no pictures: there is no binding to look at")
    total = job.settings.steps
    wanted = sorted(set(steps)) or [(total + 1) // 2]
    if wanted[-1] > total:
        raise InputError(f"--steps-at {wanted[-1]}: the clip is sampled in {total} steps")
    columns = word_columns(layout, len(job.binding.token_ids) - 1)  # its end token is no word
    attributes = [index for index, entity in enumerate(references) if entity.kind == "attribute"]
    faces = [index for index, entity in enumerate(references) if entity.kind == "face"]
    branches = pipe.make_branches(job, guidance="apart")
    whole = branches[0].without_caches()
    shares: list[Shares] = []
    entered: dict[str, torch.Tensor] = {}  # what the transformer got in this step

    def note(_: object, __: object, arguments: dict[str, Any]) -> None:
        entered.update({key: arguments[key] for key in ("hidden_states", "timestep")})

    def look(_: object, step: int, *__: object) -> None:
        if step + 1 not in wanted:
            return
        with observe_attention(pipe.transformer, layout, columns) as maps:
            pipe.predict(whole, entered["hidden_states"], entered["timestep"][0])
        for layer, found in enumerate(maps):
            segments, words = (by_segment(part, layout) for part in (found.to_segments, found.to_words))
            binding = co_attention(found.to_segments, layout, attributes, faces)
            shares.append(Shares(step + 1, layer, segments, words, binding))

    handle = pipe.transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        pipe.denoise(branches, job.settings, job.seeds[:1], look)
    finally:
        handle.remove()
        pipe.maybe_free_model_hooks()
    names = [entity.id for entity in references]
    if layout.subject_words is not None:
        names += [f"{subject.id}, in words" for subject in scene.subjects]
    columns_named = [*names, "other words", "end, padding"]
    return AttentionStudy(str(pipe.name_or_path), job.seeds[0], job, columns_named, attributes, faces, shares)


def _rounded(table: "torch.Tensor") -> list[list[float]]:
    return [[round(value, 6) for value in row] for row in table.tolist()]


def _print_binding(study: AttentionStudy) -> None:
    """The co-attention of attributes and faces, owners marked."""
    from rich.console import Console
    from rich.table import Table

    if not (study.attributes and study.faces):
        typer.echo("no attribute or no face has a picture: nothing to compare")
        return
    table = Table(
        "attribute", *(study.references[face].id for face in study.faces), title="co-attention", caption=INDICATION
    )
    for row, index in zip(study.mean("binding").tolist(), study.attributes, strict=True):
        owner = study.owner_column(index)
        cells = [f"[bold]{value:.3f} (owner)[/]" if g == owner else f"{value:.3f}" for g, value in enumerate(row)]
        table.add_row(study.references[index].id, *cells)
    Console().print(table)
