"""Checkpoints: whole or not at all, and readable by stock diffusers where that can work."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_pipeline, tiny_scene

from lumosx import LumosXPipeline, LumosXTransformer3DModel, SpaceToDepthCodec
from lumosx.errors import InputError
from lumosx.paths import resolve_checkpoint


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "tiny")


def index_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "model_index.json").read_text())


def test_a_velocity_model_is_saved_as_wan_and_loaded_as_ours(tiny_checkpoint: Path) -> None:
    assert index_of(tiny_checkpoint)["transformer"] == ["diffusers", "WanTransformer3DModel"]
    assert "_name_or_path" not in index_of(tiny_checkpoint)
    pipe = LumosXPipeline.from_pretrained(tiny_checkpoint)
    assert type(pipe.transformer) is LumosXTransformer3DModel
    assert pipe.config.text_length == 48
    assert pipe.config.generation["steps"] == 3


def test_a_saved_checkpoint_samples_the_same_frames(tiny_checkpoint: Path, tmp_path: Path) -> None:
    pipe = LumosXPipeline.from_pretrained(tiny_checkpoint)
    pipe.save_pretrained(tmp_path / "again")
    again = LumosXPipeline.from_pretrained(tmp_path / "again")
    frames = [p(tiny_scene(), progress=False).frames_sha256 for p in (tiny_pipeline(), pipe, again)]
    assert len(set(frames)) == 1


def test_what_only_we_can_run_is_saved_under_our_names(tmp_path: Path) -> None:
    pipe = tiny_pipeline(prediction="sample", in_channels=192, out_channels=192)
    pipe.register_modules(vae=SpaceToDepthCodec())
    pipe.save_pretrained(tmp_path)
    assert index_of(tmp_path)["transformer"] == ["lumosx", "LumosXTransformer3DModel"]
    assert index_of(tmp_path)["vae"] == ["lumosx", "SpaceToDepthCodec"]
    loaded = LumosXPipeline.from_pretrained(tmp_path)
    assert type(loaded.vae) is SpaceToDepthCodec
    assert loaded(tiny_scene(), progress=False).frames.shape == (5, 32, 32, 3)


def test_one_type_leaves_the_vae_in_float32(tiny_checkpoint: Path) -> None:
    pipe = LumosXPipeline.from_pretrained(tiny_checkpoint, dtype=torch.bfloat16)
    assert (pipe.transformer.dtype, pipe.text_encoder.dtype) == (torch.bfloat16, torch.bfloat16)
    assert pipe.vae.dtype == torch.float32
    assert pipe(tiny_scene(), progress=False).record["model"]["dtype"] == "bfloat16"


@pytest.mark.parametrize("name", ["no/such/folder", "checkpoints/no-such-model", "./nowhere", "lumosx-nothing"])
def test_a_wrong_path_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match="Checkpoints that exist"):
        LumosXPipeline.from_pretrained(name)


def test_a_folder_that_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model_index\.json"):
        LumosXPipeline.from_pretrained(tmp_path)


def test_a_hub_repository_is_downloaded_and_one_that_is_not_there_is_an_error(tiny_checkpoint: Path) -> None:
    assert resolve_checkpoint("owner/model", lambda name: {"owner/model": tiny_checkpoint}[name]) == tiny_checkpoint

    def absent(name: str) -> Path:
        raise OSError(f"{name} is not there")

    with pytest.raises(InputError, match=r"Nor was it found on the Hugging Face hub: owner/model is not there"):
        resolve_checkpoint("owner/model", absent)


@pytest.mark.parametrize(
    ("file", "tensor"),
    [
        ("transformer/diffusion_pytorch_model.safetensors", "blocks.1.attn1.to_q.weight"),
        ("text_encoder/model.safetensors", "encoder.final_layer_norm.weight"),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.bias"),
    ],
)
def test_a_missing_tensor_is_an_error_naming_it(checkpoint: Path, file: str, tensor: str) -> None:
    tensors = load_file(checkpoint / file)
    del tensors[tensor]
    save_file(tensors, checkpoint / file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"lacks 1 tensors.*{tensor}"):
        LumosXPipeline.from_pretrained(checkpoint)


def test_a_transformer_alone_is_whole_or_an_error_too(checkpoint: Path) -> None:
    loaded = LumosXTransformer3DModel.from_pretrained(checkpoint, subfolder="transformer")
    again, info = LumosXTransformer3DModel.from_pretrained(checkpoint / "transformer", output_loading_info=True)
    assert torch.equal(again.proj_out.bias, loaded.proj_out.bias) and info["missing_keys"] == []
    file = checkpoint / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["blocks.1.attn1.to_q.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"transformer lacks 1 tensors.*blocks\.1\.attn1\.to_q\.weight"):
        LumosXTransformer3DModel.from_pretrained(checkpoint / "transformer")


@pytest.mark.parametrize("name", ["no/such/folder", "./no/where", "checkpoints/no-such-model", "nowhere"])
def test_a_wrong_path_of_a_transformer_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        LumosXTransformer3DModel.from_pretrained(name)


def test_missing_weights_are_an_error(checkpoint: Path) -> None:
    (checkpoint / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(OSError, match=r"diffusion_pytorch_model\.safetensors"):
        LumosXPipeline.from_pretrained(checkpoint)


def test_pickles_are_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(InputError, match="safetensors only"):
        LumosXPipeline.from_pretrained(tiny_checkpoint, use_safetensors=False)


def test_a_class_of_ours_that_does_not_exist_is_an_error(checkpoint: Path) -> None:
    index = index_of(checkpoint) | {"vae": ["lumosx", "os"]}
    (checkpoint / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"lumosx\.os"):
        LumosXPipeline.from_pretrained(checkpoint)
