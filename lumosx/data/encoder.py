"""The frozen parts in front of the transformer: text encoder and video codec, as the pipeline uses them.

Every clip, picture and text is encoded alone, as in sampling. So its latents are the same bits in whatever batch it
comes, on whichever rank, and from the cache: the kernels below round differently for different batch sizes.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel

from lumosx.completeness import expect_none_missing
from lumosx.data.batch import Batch, EncodedBatch
from lumosx.errors import InputError
from lumosx.files import sha256_of
from lumosx.models.codec import CODECS, Codec, encode_latents
from lumosx.paths import resolve_checkpoint


class Encoder:
    """Turns batches of pixels and token ids into what the transformer reads.

    Args:
        tokenizer: a fast tokenizer with offsets.
        text_encoder, codec: frozen from here on and moved to `device`. The codec is float32, because Wan's loses
            detail in half precision.
        folders: where their weights lie, by the name of the setting.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder: UMT5EncoderModel,
        codec: Codec,
        device: torch.device,
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        text: Any = text_encoder  # transformers and diffusers wrap `to` so that its type is lost
        video: Any = codec
        self.tokenizer: Any = tokenizer
        self.text_encoder: Any = text.requires_grad_(False).eval().to(device)
        self.codec: Any = video.requires_grad_(False).eval().to(device)
        self.device = device
        self._folders = folders or {}

    @classmethod
    def open(cls, text_encoder: str, codec: str, device: torch.device, dtype: torch.dtype = torch.float32) -> "Encoder":
        """From folders, shipped checkpoints or repositories of the hub, whole or not at all, from safetensors only.

        Args:
            text_encoder: holds tokenizer/ and text_encoder/.
            codec: holds vae/.
            dtype: of the text encoder. Its embeddings are float32 all the same.

        Raises:
            InputError: nothing of that name, a part is missing, or a model without all its tensors.
        """
        words = component_folders("model.text_encoder", text_encoder, ("tokenizer", "text_encoder"))
        (vae,) = component_folders("model.codec", codec, ("vae",))
        tokenizer = AutoTokenizer.from_pretrained(words[0])
        text_model, video_model = _whole(UMT5EncoderModel, words[1], dtype), _open_codec(vae)
        return cls(tokenizer, text_model, video_model, device, {"model.text_encoder": words[1], "model.codec": vae})

    @torch.no_grad()
    def __call__(self, batch: Batch) -> EncodedBatch:
        """The same clips as float32 latents and embeddings on the encoder's device."""
        return EncodedBatch(
            samples=batch.samples,
            latents=self.video(batch.video),
            references=[self.references(pictures) for pictures in batch.references],
            text=self.text(batch.token_ids, batch.token_mask),
            layouts=batch.layouts,
        )

    @torch.no_grad()
    def video(self, pixels: Tensor) -> Tensor:
        """Normalised latents [B, C, T, h, w] of clips [B, 3, F, H, W], uint8 or float32 in [-1, 1]."""
        return torch.cat([self._encode(clip[None]) for clip in pixels])

    @torch.no_grad()
    def references(self, pixels: Tensor) -> Tensor:
        """Normalised latents [C, R, h, w] of pictures [R, 3, H, W], each as a clip of one frame."""
        if not len(pixels):
            space = self.codec.config.scale_factor_spatial
            height, width = pixels.shape[2] // space, pixels.shape[3] // space
            return torch.zeros(self.codec.config.z_dim, 0, height, width, device=self.device)
        return torch.cat([self._encode(picture[None, :, None])[0] for picture in pixels], dim=1)

    @torch.no_grad()
    def text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embeddings [B, text, D], zero behind each last token, of tokens and their mask, int64 [B, text]."""
        ids, mask = ids.to(self.device), mask.to(self.device)
        embeddings = [
            self.text_encoder(row, known).last_hidden_state.float()
            for row, known in zip(ids.split(1), mask.split(1), strict=True)
        ]
        return torch.cat(embeddings).masked_fill(mask.unsqueeze(-1) == 0, 0.0)

    def facts(self) -> dict[str, str]:
        """What all results depend on: digests of the folders with the weights, and the text encoder's type."""
        digests = {name: f"sha256:{sha256_of(folder)}" for name, folder in self._folders.items()}
        return {**digests, "type of the text encoder": str(self.text_encoder.dtype).removeprefix("torch.")}

    def _encode(self, clip: Tensor) -> Tensor:
        clip = clip.to(self.device)
        if clip.dtype == torch.uint8:
            clip = (clip.float() / 255 - 0.5) / 0.5  # as reference pictures are
        return encode_latents(self.codec, clip)


def component_folders(setting: str, name: str, parts: tuple[str, ...]) -> list[Path]:
    """The folders `parts` of a folder, of a shipped checkpoint or of a repository of the hub.

    Raises:
        InputError: names `setting`: nothing is there, or not all parts.
    """
    root = Path(name).expanduser()
    if not any((root / part).is_dir() for part in parts):
        try:
            fetch = partial(snapshot_download, allow_patterns=[f"{part}/*" for part in parts])
            root = resolve_checkpoint(name, fetch)
        except InputError as error:
            raise InputError(f"{setting}: {error}") from error
    missing = [part for part in parts if not (root / part).is_dir()]
    if missing:
        raise InputError(f"{setting}: {root} has no folder {' and no folder '.join(missing)}")
    return [root / part for part in parts]


def codec_class(config: Mapping[str, Any], place: str | Path) -> type[Codec]:
    """The class of a codec that is configured so.

    Raises:
        InputError: none of ours; names `place`, where the configuration is from.
    """
    name = config.get("_class_name")
    if name not in CODECS:
        raise InputError(f"model.codec: {place} is of class {name}; known are {', '.join(CODECS)}")
    return CODECS[name]


def _open_codec(folder: Path) -> Codec:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"model.codec: {file} cannot be read: {error}") from error
    return _whole(codec_class(config, file), folder)


def _whole(kind: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    try:
        model, found = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    except OSError as error:
        raise InputError(f"{folder}: {error}") from error
    expect_none_missing(folder, kind.__name__, found["missing_keys"])
    return model
