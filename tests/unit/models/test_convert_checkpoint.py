"""The folder that `lumosx convert` writes: it loads everywhere, whole or not at all."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file
from transformers import UMT5EncoderModel
from typer.testing import CliRunner
from wan_files import GOLDEN, Tensors, distribute, golden_weights, tiny_text_encoder, tiny_vae, torch_file

from lumosx.cli.main import app
from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.convert import convert_checkpoint, convert_state_dict

# dcp.save says so although it is told to work without a process group.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")


@pytest.fixture
def golden() -> Tensors:
    return golden_weights()


def test_written_transformer_loads_in_both_classes(tmp_path: Path, golden: Tensors) -> None:
    out = tmp_path / "new" / "transformer"
    written = convert_checkpoint(GOLDEN, out, part="transformer", num_heads=2)
    assert written == {"tensors": len(golden), "parameters": sum(t.numel() for t in golden.values())}
    expected = convert_state_dict(golden)
    for model_class in (LumosXTransformer3DModel, WanTransformer3DModel):
        loaded = model_class.from_pretrained(out).state_dict()
        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())
    assert json.loads((out / "config.json").read_text())["rules"] == "paper"
    assert [path.name for path in out.parent.iterdir()] == ["transformer"]


def test_release_weights_record_their_rules(tmp_path: Path, golden: Tensors) -> None:
    src = distribute(tmp_path / "ema", {"ema": golden | {"freqs": torch.ones(1)}})
    convert_checkpoint(src, tmp_path / "out", part="transformer", source="lumosx-release", num_heads=2)
    assert LumosXTransformer3DModel.from_pretrained(tmp_path / "out").config["rules"] == "release"


def test_written_vae_loads(tmp_path: Path) -> None:
    vae, wan = tiny_vae()
    convert_checkpoint(torch_file(tmp_path / "vae.pth", {"model_state": wan}), tmp_path / "vae", part="vae")
    loaded = AutoencoderKLWan.from_pretrained(tmp_path / "vae").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in vae.state_dict().items())


def test_written_text_encoder_loads_with_its_tied_embedding(tmp_path: Path) -> None:
    encoder, wan = tiny_text_encoder()
    convert_checkpoint(torch_file(tmp_path / "t5.pth", wan), tmp_path / "out", part="text_encoder")
    loaded = UMT5EncoderModel.from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert torch.equal(loaded(ids).last_hidden_state, encoder(ids).last_hidden_state)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert len(stored) == len(wan)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_of_the_written_tensors(tmp_path: Path, dtype: torch.dtype) -> None:
    convert_checkpoint(GOLDEN, tmp_path / "out", part="transformer", num_heads=2, dtype=dtype)
    stored = load_file(tmp_path / "out" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_written(model: object, folder: Path, **_: object) -> None:
        folder.mkdir()
        (folder / "config.json").touch()
        raise OSError("disk full")

    monkeypatch.setattr(LumosXTransformer3DModel, "save_pretrained", half_written)
    with pytest.raises(OSError, match="disk full"):
        convert_checkpoint(GOLDEN, tmp_path / "out", part="transformer", num_heads=2)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        convert_checkpoint(GOLDEN, tmp_path, part="transformer", num_heads=2)


def test_command_line(tmp_path: Path) -> None:
    out = tmp_path / "transformer"
    arguments = ["convert", str(GOLDEN), str(out), "--part", "transformer", "--num-heads", "2"]
    result = CliRunner().invoke(app, [*arguments, "--dtype", "bfloat16"])
    assert result.exit_code == 0, result.output
    assert "69 tensors" in result.output
    assert LumosXTransformer3DModel.from_pretrained(out).config["num_attention_heads"] == 2


def test_wrong_input_is_exit_code_2_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lumosx.cli.main import main

    out = str(tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["lumosx", "convert", str(tmp_path / "no.pt"), out, "--part", "vae"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "no.pt does not exist" in capsys.readouterr().err
    assert CliRunner().invoke(app, ["convert", str(GOLDEN), out, "--part", "unet"]).exit_code == 2
    assert list(tmp_path.iterdir()) == []
