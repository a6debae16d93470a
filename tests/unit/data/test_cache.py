"""The cache: what training reads from it equals, bit for bit, what it would have encoded; damage never passes."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from clips_in_memory import Memory, load_tokenizer, picture, reading, store_of, two_men, video
from tiny_models import tiny_pipeline
from torch import Tensor

from lumosx.data.batch import Bucket, EncodedBatch, StepData
from lumosx.data.cache import CacheReader, cache_settings, read_entry, write_entry
from lumosx.data.encoder import Encoder
from lumosx.data.examples import Reading
from lumosx.data.fill_cache import Filled, fill_cache, verify_cache
from lumosx.data.loader import Share, training_steps
from lumosx.data.source import Records
from lumosx.data.store import Store
from lumosx.errors import InputError
from lumosx.references import Augmentation

CPU = torch.device("cpu")
DROPPED = {"text_dropout": 0.3, "reference_dropout": 0.2, "entity_dropout": 0.2}
