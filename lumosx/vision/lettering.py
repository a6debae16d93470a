"""Lettering in a picture, read by PP-OCR's networks, which the wheel of RapidOCR holds."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from lumosx.errors import InputError
from lumosx.vision import ModelCard, Picture, Written
from lumosx.vision.places import library

EXTRA = "'lumosx[bench]'"
WHEEL = "3.10.0"  # whose networks these are
DETECTOR, RECOGNISER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
SIDE = 736  # pixels of the longer side, to which the detector shrinks a picture


class RapidOcr:
    """PP-OCRv6 (small): lines of text in Latin letters, Chinese and Japanese, level or tilted up to 45 degrees.

    Lines are looked for in a picture of at most 736 pixels, and read in the picture as it is. One of 832x480 takes half
    a second of one core. There, on a photograph, plain white letters of 12 pixels and more are read; those that are a
    third opaque, as of a watermark, from 36 pixels on.

    The library would fetch networks that it lacks, and tells what it does: it is given those of the wheel by their
    paths, and kept quiet.

    Raises:
        InputError: RapidOCR or onnxruntime is not installed, or the wheel is one without these networks.
    """

    def __init__(self) -> None:
        library("onnxruntime", EXTRA)
        rapidocr = library("rapidocr", EXTRA)
        release = version("rapidocr")
        networks = [Path(rapidocr.__file__).parent / "models" / name for name in (DETECTOR, RECOGNISER)]
        for network in networks:
            if not network.is_file():
                raise InputError(f"rapidocr {release} has no {network.name}: pip install rapidocr=={WHEEL}")
        self.card = ModelCard("RapidOCR (PP-OCRv6 small)", "rapidocr", release, "Apache-2.0", True)
        self._engine = rapidocr.RapidOCR(
            params={
                "Det.model_path": str(networks[0]),
                "Det.limit_type": "max",
                "Det.limit_side_len": SIDE,
                "Rec.model_path": str(networks[1]),
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,  # more wait for each other where cores are busy
                "Global.use_cls": False,  # the network that turns what is upside down
                "Global.text_score": 0.0,  # who asks decides what is too doubtful
                "Global.log_level": "critical",
            }
        )

    def read(self, picture: Picture) -> list[Written]:
        """The lines of text, from top to bottom."""
        found = self._engine(np.ascontiguousarray(picture[..., ::-1]))  # BGR
        if found.txts is None:
            return []
        lows, highs = found.boxes.min(axis=1), found.boxes.max(axis=1)  # of corners [n, 4, 2]
        return [
            Written(text, (*low, *high), float(score))
            for text, low, high, score in zip(found.txts, lows.tolist(), highs.tolist(), found.scores, strict=True)
        ]
