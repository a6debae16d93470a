"""CLIP's tokenizer with a vocabulary of single bytes, and pictures, for tests of models that build on CLIP."""

import numpy as np
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

START, END = 512, 513  # ids; the end has the highest, as in CLIP, whose text tower looks for it so
TOKENS = 12  # that the text towers of the tests take

TEXT = {
    "vocab_size": 514,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": TOKENS,
    "bos_token_id": START,
    "eos_token_id": END,
    "pad_token_id": END,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def byte_tokenizer() -> CLIPTokenizer:
    """A token a byte."""
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture of random pixels, uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
