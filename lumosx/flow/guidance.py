"""Classifier-free guidance: how the velocities of several passes become one.

Pure functions of velocities, so the choice of passes stays with the pipeline and a formula is tested alone.
"""

from torch import Tensor


def classifier_free(v_pos: Tensor, v_neg: Tensor, scale: float) -> Tensor:
    """``v_neg + scale (v_pos - v_neg)`` (Ho and Salimans 2022); scale 1 is no guidance, the paper uses 6.

    As in the release, both passes see the references: only the text differs.
    """
    return v_neg + scale * (v_pos - v_neg)


def image_guided(v_full: Tensor, v_refs: Tensor, v_nothing: Tensor, cfg: float, cfg_image: float) -> Tensor:
    """Separate guidance for text and references, from three passes.

    ``v_nothing + cfg_image (v_refs - v_nothing) + cfg (v_full - v_refs)``

    Args:
        v_full: velocity under the prompt with references.
        v_refs: under the negative prompt with references.
        v_nothing: under the negative prompt without references.
        cfg: guidance scale of the text.
        cfg_image: guidance scale of the references.

    Derivation, as in InstructPix2Pix (Brooks et al. 2023, equation 3): by Bayes' rule
    ``p(x | text, refs) ~ p(x) p(refs | x) p(text | refs, x)``. Sharpening the two likelihoods by the
    exponents ``cfg_image`` and ``cfg`` and taking the gradient of the logarithm gives
    ``s(x) + cfg_image [s(x | refs) - s(x)] + cfg [s(x | text, refs) - s(x | refs)]``, and at a given sigma
    the velocity is an affine function of the score s, whose weights here add up to one.

    ``cfg_image = 1`` is :func:`classifier_free` on the first two passes; ``cfg_image = cfg`` on the first
    and last.
    """
    return v_nothing + cfg_image * (v_refs - v_nothing) + cfg * (v_full - v_refs)
