"""Near-duplicates: clips that show the same as another one (paper, section A.3: clusters of VideoCLIP embeddings)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lumosx.curation.footage import Span
from lumosx.curation.stage import Look, Rejected, Stage, Vector, model, threshold
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Embedding
from lumosx.vision import VideoEncoder

BLOCK = 4096  # clips that are compared with all others at a time


@dataclass(frozen=True)
class NearDuplicates(Stage[Embedding]):
    """Clips whose embeddings are alike form a cluster with all that they are alike to, directly or through others; of
    each cluster the clip of the largest picture stays, among equals the longest, then the one whose id comes first.

    embedder: of clips. frames: that it sees, evenly spread. alike: least cosine of two clips that show the same. The
    paper does not state its own; 0.95 keeps other takes of a scene apart and finds copies that were cut, compressed or
    recoloured a little.
    """

    name: ClassVar[str] = "duplicates"
    needs: ClassVar = (Technical, SubtitleText)
    gives: ClassVar = Embedding
    among_others: ClassVar[bool] = True

    embedder: VideoEncoder = model("embedder")
    frames: int = 16
    alike: float = threshold(0.95)

    def measure(self, look: Look) -> Embedding:
        """The embedding, and the size and length by which a cluster's clip is chosen."""
        kept, span = look.of(Technical), Span.of_clip(look.clip)
        pictures = span.read(span.evenly(self.frames), look.of(SubtitleText).crop, min(kept.width, kept.height))
        vector = Vector.of(self.embedder.embed_video(pictures))
        return Embedding(vector=vector, pixels=kept.width * kept.height, frames=kept.frames)

    def judge_all(self, values: Mapping[str, Embedding]) -> dict[str, Rejected]:
        """All of a cluster but one."""
        ids = sorted(values)
        if len(ids) < 2:
            return {}
        vectors = np.stack([values[each].vector.array for each in ids])
        rows, columns = _alike(vectors, self.alike)
        _, cluster = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(ids), len(ids))))
        kept: dict[int, int] = {}
        sizes = [(-values[each].pixels, -values[each].frames, each) for each in ids]
        for place in sorted(range(len(ids)), key=sizes.__getitem__):
            kept.setdefault(int(cluster[place]), place)
        return {
            each: Rejected(
                "duplicate",
                f"shows the same as {ids[kept[int(cluster[place])]]}",
                float(vectors[place] @ vectors[kept[int(cluster[place])]]),
                self.alike,
            )
            for place, each in enumerate(ids)
            if kept[int(cluster[place])] != place
        }


def _alike(vectors: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs whose cosine is at least `least`."""
    pairs = [np.nonzero(vectors[start : start + BLOCK] @ vectors.T >= least) for start in range(0, len(vectors), BLOCK)]
    rows = [found[0] + number * BLOCK for number, found in enumerate(pairs)]
    return np.concatenate(rows), np.concatenate([found[1] for found in pairs])
