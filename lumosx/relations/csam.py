"""CSAM, the causal self-attention mask: equation (2), as rectangles instead of a mask.

"Video sees everything, a background or object sees itself, the members of a subject see each other" has disjoint query
rows and contiguous keys, so it is a list of full attention blocks. No [L, L] mask is ever needed to compute it.
"""

from lumosx.attention.dense import Range


def relational_ranges(
    video_tokens: int, reference_tokens: int, subjects: list[int | None], *, csam: bool = True
) -> list[Range]:
    """The blocks (q0, q1, k0, k1) of equation (2), half-open, in token order.

    Args:
        video_tokens: T * H * W.
        reference_tokens: H * W, tokens of one reference.
        subjects: one entry a reference: None for a background or an object, else its subject's number; the members of
            one subject are neighbours.
        csam: False lets every token see every token.
    """
    total = video_tokens + reference_tokens * len(subjects)
    if not csam:
        return [(0, total, 0, total)]
    ranges = [(0, video_tokens, 0, total)]
    start = video_tokens
    for index, subject in enumerate(subjects):
        stop = video_tokens + (index + 1) * reference_tokens
        last_of_group = subject is None or subjects[index + 1 : index + 2] != [subject]
        if last_of_group:
            ranges.append((start, stop, start, stop))
            start = stop
    return ranges
