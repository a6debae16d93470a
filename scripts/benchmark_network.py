"""Of `benchmark.py`: the network in training and in sampling."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any
from unittest import mock

import torch
from benchmark_attention import packed_attention
from benchmark_compare import REFERENCES, Comparison, Parts, Setup, Variant
from benchmark_gpu import Graph, peak_memory, waits_and_copies
from torch import Tensor

from lumosx import LumosXPipeline, LumosXTransformer3DModel, Scene
from lumosx.attention.dense import dense_mask
from lumosx.paths import configs_dir
from lumosx.pipelines.branches import Branch, together, with_caches
from lumosx.relations.typical import typical_layout

SCENE = "scenes/two_friends/scene.yaml"
SOME = (4, 8)  # references of what is not measured for all numbers of them
DETAIL = 4  # references of what is looked at once
STEPS = 50  # of a clip, as in the paper
TIMESTEP = 500.0


def random_network(setup: Setup, **changes: Any) -> LumosXTransformer3DModel:
    """With random weights, in the types that a checkpoint's are loaded in."""
    torch.manual_seed(0)
    with setup.device:
        network = LumosXTransformer3DModel(**{**setup.transformer, **changes})
    for name, parameter in network.named_parameters():
        if not set(name.split(".")) & set(network._keep_in_fp32_modules):
            parameter.data = parameter.data.to(setup.dtype)
    return network.eval()


def random_branches(
    setup: Setup, network: LumosXTransformer3DModel, references: int, mcam_ratio: float | None = None
) -> list[Branch]:
    """The prompt's and the negative prompt's, without caches."""
    torch.manual_seed(1)
    draw = partial(torch.randn, device=setup.device, dtype=setup.dtype)
    _, height, width = latent_size(setup, network)
    pictures = draw(network.config.in_channels, references, height, width)
    layout = typical_layout(setup.video, references, setup.text, mcam_ratio=mcam_ratio)
    return [
        Branch(draw(1, setup.text, network.config.text_dim), (of_branch,), (pictures,))
        for of_branch in (layout, layout.without_words())
    ]


def random_latents(setup: Setup, network: LumosXTransformer3DModel) -> Tensor:
    """Of one clip."""
    torch.manual_seed(2)
    size = (1, network.config.in_channels, *latent_size(setup, network))
    return torch.randn(size, device=setup.device, dtype=setup.dtype)


def latent_size(setup: Setup, network: LumosXTransformer3DModel) -> tuple[int, ...]:
    """(T, h, w)."""
    return tuple(tokens * patch for tokens, patch in zip(setup.video, network.config.patch_size, strict=True))


def velocities(network: LumosXTransformer3DModel, latents: Tensor, branches: Sequence[Branch]) -> Tensor:
    """Of a clip in all branches: a step of sampling, but for the solver."""
    found = []
    for branch in branches:
        layouts = len(branch.layouts)
        timestep = torch.full((layouts,), TIMESTEP, device=latents.device)
        found.append(network(latents.expand(layouts, -1, -1, -1, -1), timestep, **branch.inputs()).sample)
    return torch.cat(found)


def training(setup: Setup) -> Parts:
    """Forward and backward pass of the network, with CSAM by the split and by a mask."""
    network = random_network(setup, num_layers=setup.training_layers)
    latents = random_latents(setup, network)
    for references in SOME:
        prompt, _ = random_branches(setup, network, references)
        split = partial(training_pass, network, latents, prompt)
        variants = {"split": Variant(split), "dense mask": Variant(WithMask(split), "split", optional=True)}
        found = Comparison(setup, "training pass", references, variants)
        yield from found.notes
        yield from found.ratios(("dense mask", "split"))
        yield from found.milliseconds("split")


def training_pass(network: LumosXTransformer3DModel, latents: Tensor, branch: Branch) -> tuple[Tensor, Tensor]:
    """The velocity and, of the gradients of all weights, those of the patch embedding's."""
    velocity = velocities(network, latents, [branch])
    weights = dict(network.named_parameters())
    gradients = torch.autograd.grad(velocity.float().square().mean(), list(weights.values()))
    return velocity.detach(), dict(zip(weights, gradients, strict=True))["patch_embedding.weight"]


class WithMask:
    """A pass of the network over one layout, in which CSAM is one masked call a layer."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self._masks: dict[tuple[int, int], Tensor] = {}  # the last layer's is of the video's queries alone

    def __call__(self) -> Any:
        """The pass's result."""
        with mock.patch("lumosx.models.block.attend", self._attend):
            return self._run()

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, ranges: Tensor, backend: str) -> Tensor:
        del backend
        size = len(query), len(key)
        if size not in self._masks:
            self._masks[size] = dense_mask(ranges.tolist(), *size).to(query.device)
        return packed_attention(query, key, value, self._masks[size])


@torch.no_grad()
def sampling(setup: Setup) -> Parts:
    """A clip of the shipped tiny model without caches, and with caches that are filled for every clip."""
    pipe = LumosXPipeline.from_pretrained("checkpoints/lumosx-tiny").to(setup.device)
    job = pipe.prepare(Scene.load(configs_dir() / SCENE))
    branches = [branch.without_caches() for branch in pipe.make_branches(job)]

    def denoised(branches: Sequence[Branch]) -> Tensor:
        return pipe.denoise(branches, job.settings, job.seeds)

    def cached() -> Tensor:
        return denoised([with_caches(branch, pipe.transformer) for branch in branches])

    variants = {"uncached": Variant(partial(denoised, branches)), "cached": Variant(cached, "uncached")}
    found = Comparison(setup, "a clip of lumosx-tiny", len(job.layout.references), variants)
    yield from found.notes
    yield from found.ratios(("uncached", "cached"))
    yield from found.milliseconds("cached")


@torch.no_grad()
def step(setup: Setup) -> Parts:
    """A step of sampling with both branches of guidance. Plain: eager, one after the other, nothing cached."""
    network = random_network(setup)
    yield from mcam(setup, network)
    compiled = copy.deepcopy(network)
    compiled.compile_repeated_blocks()
    latents = random_latents(setup, network)
    for references in REFERENCES:
        found = Comparison(setup, "step", references, ways_to_step(setup, network, compiled, latents, references))
        yield from found.notes
        yield from found.ratios(
            ("plain", "references cached"),
            ("references cached", "text cached too"),
            ("plain", "one batch"),
            ("plain", "compiled"),
        )
        yield from found.milliseconds("plain", "text cached too", "compiled")
        if "compiled" in found.seconds:
            yield found.figure(f"{STEPS} of them compiled, s", STEPS * median(found.seconds["compiled"]))
    if setup.device.type == "cuda":
        yield from details(setup)
    else:
        yield "step: its memory, its waits for the device and its graph are measured on a CUDA device only"


def mcam(setup: Setup, network: LumosXTransformer3DModel) -> Parts:
    """What MCAM costs of a step, whose negative branch is without it. So small a difference takes more rounds."""
    latents = random_latents(setup, network)
    for references in SOME:
        ratios = {"with MCAM": None, "without MCAM": 0.0}
        variants = {
            name: Variant(partial(velocities, network, latents, random_branches(setup, network, references, ratio)))
            for name, ratio in ratios.items()
        }
        found = Comparison(replace(setup, rounds=2 * setup.rounds), "step", references, variants)
        yield from found.ratios(("with MCAM", "without MCAM"))


def ways_to_step(
    setup: Setup,
    network: LumosXTransformer3DModel,
    compiled: LumosXTransformer3DModel,
    latents: Tensor,
    references: int,
) -> dict[str, Variant]:
    """A step by what is done for its speed."""
    branches = random_branches(setup, network, references)
    cached = [with_caches(branch, network) for branch in branches]
    only_references = [replace(branch, text_cache=None) for branch in cached]
    variants = {
        "plain": Variant(partial(velocities, network, latents, branches)),
        "references cached": Variant(partial(velocities, network, latents, only_references), "plain"),
        "text cached too": Variant(partial(velocities, network, latents, cached), "plain"),
        "one batch": Variant(partial(velocities, network, latents, [together(branches)]), "plain"),
    }
    if references in setup.compiled:
        variants["compiled"] = Variant(partial(velocities, compiled, latents, branches), "plain", optional=True)
    return variants


@torch.no_grad()
def details(setup: Setup) -> Parts:
    """Of a step on a GPU: memory, waits of the host, and whether the device can repeat it as one graph.

    References have the video's timestep here, as in the release.
    """
    network = random_network(setup, reference_timestep="shared")
    latents = random_latents(setup, network)
    plain, bare = (
        partial(velocities, network, latents, random_branches(setup, network, DETAIL, mcam_ratio=ratio))
        for ratio in (None, 0.0)
    )
    peak, peak_without_mcam = peak_memory(network, plain), peak_memory(network, bare)
    waits, copies = waits_and_copies(plain)
    found = Comparison(
        setup, "step", DETAIL, {"plain": Variant(plain), "as a graph": Variant(Graph(plain), "plain", optional=True)}
    )
    yield from found.notes
    yield found.figure("peak memory, GB", peak / 1e9)
    yield found.figure("memory of MCAM, GB", (peak - peak_without_mcam) / 1e9)
    yield found.figure("waits for the device", waits)
    yield found.figure("copies to the device", copies)
    yield from found.ratios(("plain", "as a graph"))
    yield from found.milliseconds("as a graph")
