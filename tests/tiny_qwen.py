"""Qwen's vision-language models of random weights, a few kilobytes large, with a tokenizer of a token a byte."""

from pathlib import Path

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

SPECIAL = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
PAD, END, IMAGE = 256, 258, 261  # of these, which follow the bytes
LETTERS = "egfpb"  # the first of a score's levels, best first; a space and each of them is a token
LEVELS = range(263, 268)  # those tokens
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "vocab_size": 268, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "bos_token_id": None, "eos_token_id": END,
}  # fmt: skip
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
TOKENS = {"image_token_id": IMAGE, "video_token_id": 262, "vision_start_token_id": 259, "vision_end_token_id": 260}
VISION = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
SIZE = {"shortest_edge": 28 * 28, "longest_edge": 84 * 84}
KINDS = ("qwen2_5_vl", "qwen3_vl")


def tokenizer(letters: str = "") -> Qwen2Tokenizer:
    """A token a byte, but a space is one with each of these letters."""
    words = [f"<|{name}|>" for name in SPECIAL]
    names = [*bytes_to_unicode().values(), *words, *(f"Ġ{letter}" for letter in LETTERS)]
    made = Qwen2Tokenizer(
        vocab={name: number for number, name in enumerate(names)},
        merges=[("Ġ", letter) for letter in letters],
        additional_special_tokens=words[1:],
    )
    assert made.convert_tokens_to_ids(words) == list(range(PAD, PAD + len(words)))
    made.chat_template = TEMPLATE
    return made


def processor() -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(size=SIZE)


def tiny(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "qwen2_5_vl":
        text = TEXT | {"rope_parameters": ROPE}
        config = Qwen2_5_VLConfig(text_config=text, vision_config=VISION | {"fullatt_block_indexes": [1]}, **TOKENS)
        model = Qwen2_5_VLForConditionalGeneration(config)
    else:
        text = TEXT | {"head_dim": 8, "rope_parameters": ROPE | {"mrope_interleaved": True}}
        vision = VISION | {"patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **TOKENS))
    torch.nn.init.normal_(model.lm_head.weight)  # else all tokens are about as likely
    return model.eval()


def save(kind: str, folder: Path, letters: str = "", ends: int = END) -> Path:
    """A repository whose own settings would sample and punish repetition."""
    model = tiny(kind)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=2.0, repetition_penalty=50.0, eos_token_id=[ends, PAD], pad_token_id=PAD
    )
    model.save_pretrained(folder)
    processor().save_pretrained(folder)
    tokenizer(letters).save_pretrained(folder)
    return folder


def pictures() -> list[np.ndarray]:
    """One of 84 x 56 pixels, which is 6 x 4 patches and 6 tokens, and one of 28 x 28, a single token."""
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((56, 84), (28, 28))]
