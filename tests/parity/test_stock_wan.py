"""A LumosX checkpoint is a Wan checkpoint: stock diffusers opens it and computes the same velocity."""

from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from tiny_models import TEXT_LENGTH, tiny_scene

from lumosx import LumosXPipeline
from lumosx.flow import make_solver


@pytest.fixture(scope="module")
def pipelines(tiny_checkpoint: Path) -> tuple[LumosXPipeline, WanPipeline]:
    return LumosXPipeline.from_pretrained(tiny_checkpoint), WanPipeline.from_pretrained(tiny_checkpoint)


def test_stock_pipeline_opens_our_folder(pipelines: tuple[LumosXPipeline, WanPipeline]) -> None:
    ours, stock = pipelines
    assert type(stock.transformer) is WanTransformer3DModel
    theirs = stock.transformer.state_dict()
    assert theirs.keys() == ours.transformer.state_dict().keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.transformer.state_dict().items())


def test_text_embeddings_are_the_stock_pipelines(pipelines: tuple[LumosXPipeline, WanPipeline]) -> None:
    ours, stock = pipelines
    positive, negative = stock.encode_prompt("A woman with a red hat", "blurry", max_sequence_length=TEXT_LENGTH)
    found = ours.encode_text(["A woman with a red hat", "blurry"])
    torch.testing.assert_close(found, torch.cat([positive, negative]), atol=1e-5, rtol=1e-5)


def test_without_references_the_velocity_is_wans(pipelines: tuple[LumosXPipeline, WanPipeline]) -> None:
    ours, stock = pipelines
    branches = ours.make_branches(ours.prepare(tiny_scene(subjects=None, background=None)), guidance="apart")
    latents = torch.randn((1, 16, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    for branch in branches:
        for timestep in (torch.tensor(999), torch.tensor(250)):
            with torch.no_grad():
                (found,) = ours.predict(branch, latents, timestep)
                expected = stock.transformer(latents, timestep.expand(1), branch.text).sample
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_without_references_the_clip_is_the_stock_pipelines(
    pipelines: tuple[LumosXPipeline, WanPipeline],
) -> None:
    ours, stock = pipelines
    scene = tiny_scene(subjects=None, background=None)
    job = ours.prepare(scene, solver="unipc", steps=4, shift=3.0, cfg=2.0)
    latents = ours.denoise(ours.make_branches(job), job.settings, [5])
    solver = make_solver("unipc", 4, 3.0)
    solver.set_timesteps = lambda *_args, **_kwargs: None  # keeps our sigmas, which differ a little from its own
    stock.register_modules(scheduler=solver)
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        scene.prompt, job.settings.negative_prompt, height=32, width=32, num_frames=5, num_inference_steps=4,
        guidance_scale=2.0, generator=torch.Generator().manual_seed(5), output_type="latent",
        max_sequence_length=TEXT_LENGTH,
    ).frames  # fmt: skip
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
