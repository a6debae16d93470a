"""Near-duplicates: clips that show the same as another one (paper, section A.3: clusters of VideoCLIP embeddings)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import ClassVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lumosx.curation.footage import Span
from lumosx.curation.stage import Look, Rejected, Stage, Vector, model, threshold
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Embedding
from lumosx.vision import ClipEmbedder

BLOCK = 512  # clips that are compared with as many others at a time: the memory grows with its square
GRID = 2.0**26  # see `_exact`
SLACK = 1e-3  # more than float32 takes a cosine wrong


@dataclass(frozen=True)
class NearDuplicates(Stage[Embedding]):
    """Clips whose embeddings are alike form a cluster with all that they are alike to, directly or through others; of
    each cluster the clip of the largest picture stays, among equals the longest, then the one whose id comes first. A
    clip that is not alike to that one leaves for the clip by which it is linked to it, with the cosine of the two.

    embedder: of clips. frames: that it sees, evenly spread. alike: least cosine of two clips that show the same. The
    paper does not state its own; 0.95 keeps other takes of a scene apart and finds copies that were cut, compressed or
    recoloured a little.
    """

    name: ClassVar[str] = "duplicates"
    needs: ClassVar = (Technical, SubtitleText)
    gives: ClassVar = Embedding
    among_others: ClassVar[bool] = True

    embedder: ClipEmbedder = model("embedder")
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
        cluster = _clusters(vectors, self.alike)
        order = np.argsort(cluster, kind="stable")
        rejected: dict[str, Rejected] = {}
        for members in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1):
            kept = min(members, key=lambda place: (-values[ids[place]].pixels, -values[ids[place]].frames, place))
            for place, (link, cosine) in _links(vectors, kept, members[members != kept], self.alike).items():
                text = f"shows the same as {ids[link]}"
                text += f", and through others as {ids[kept]}" if link != kept else ""
                rejected[ids[place]] = Rejected("duplicate", text, cosine, self.alike)
        return rejected

    def copies(self, values: Mapping[str, Embedding], some: Collection[str]) -> list[str]:
        """Ids of the others that show the same as one of some."""
        ids = sorted(values)
        own, others = ([place for place, each in enumerate(ids) if (each in some) == own] for own in (True, False))
        if not own or not others:
            return []
        vectors = np.stack([values[each].vector.array for each in ids])
        cosines, _ = _nearest(vectors, np.array(others), np.array(own))
        return [ids[place] for place, cosine in zip(others, cosines, strict=True) if cosine >= self.alike]


def _clusters(vectors: np.ndarray, least: float) -> np.ndarray:
    """For each of n vectors the first place of its cluster [n], in memory for n numbers and the pairs of a block."""
    first = np.arange(len(vectors))  # an earlier place of the cluster, or its own
    blocks = [slice(start, start + BLOCK) for start in range(0, len(vectors), BLOCK)]
    for some, others in combinations_with_replacement(blocks, 2):
        rows, columns = _alike(vectors[some], vectors[others], least)
        if not len(rows):
            continue
        for block in (some, others):
            first[block] = _roots(first, first[block])
        pairs = np.stack([first[some][rows], first[others][columns]])
        pairs = pairs[:, pairs[0] != pairs[1]]
        if pairs.size:
            ends, numbers = np.unique(pairs, return_inverse=True)
            links = coo_array((np.ones(pairs.shape[1]), tuple(numbers.reshape(2, -1))), shape=(len(ends), len(ends)))
            _, joined = connected_components(links, directed=False)
            first[ends] = ends[np.unique(joined, return_index=True)[1]][joined]  # the least, as ends ascend
    return _roots(first, first)


def _roots(first: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Where it ends to go from places to earlier ones."""
    while (first[places] != places).any():
        places = first[places]
    return places


def _alike(some: np.ndarray, others: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs whose cosine is at least `least`."""
    near = some @ others.T >= least - SLACK
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))  # of most blocks none
    found = np.nonzero(_exact(some[rows]) @ _exact(others[columns]).T >= least)
    return rows[found[0]], columns[found[1]]


def _links(vectors: np.ndarray, kept: int, others: np.ndarray, least: float) -> dict[int, tuple[int, float]]:
    """How the others of a cluster are linked to the one that is kept, each by as few as there can be: of each the most
    alike of those who are one link nearer to it, and their cosine."""
    links: dict[int, tuple[int, float]] = {}
    nearer = np.array([kept])
    while len(others):
        cosines, places = _nearest(vectors, others, nearer)
        near = cosines >= least
        for place, link, cosine in zip(others[near], places[near], cosines[near], strict=True):
            links[int(place)] = int(link), float(cosine)
        nearer, others = others[near], others[~near]
    return links


def _nearest(vectors: np.ndarray, some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cosine of each of some places with the most alike of others, and which that is, of several the first."""
    cosines, places = np.full(len(some), -np.inf), np.zeros(len(some), int)
    for row in range(0, len(some), BLOCK):
        mine = slice(row, row + BLOCK)
        for start in range(0, len(others), BLOCK):
            block = others[start : start + BLOCK]
            found = _exact(vectors[some[mine]]) @ _exact(vectors[block]).T
            best = found.max(1)
            better = best > cosines[mine]
            places[mine][better] = block[found.argmax(1)[better]]
            cosines[mine][better] = best[better]
    return cosines, places


def _exact(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 in multiples of 2^-26. float64 holds all sums of their products exactly, so that a cosine is
    the same in whatever order and by whatever blocks it is summed, and less than 1e-6 off."""
    return np.rint(vectors.astype(np.float64) * GRID) / GRID
