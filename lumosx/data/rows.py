"""Which references a sample has, and in which order. Words stay with their owners."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lumosx.relations import TokenLayout
from lumosx.scene import Binding


def with_references(layout: TokenLayout, rows: Sequence[int]) -> TokenLayout:
    """The layout of these references alone, as if the scene stated the others without a picture: what a lost member is
    called stays its subject's."""
    lost = [row for row in range(len(layout.references)) if row not in rows]
    if not lost:
        return layout
    subject_words = layout.subject_words
    for row in lost:
        subject = layout.subjects[row]
        if subject is not None:
            if subject_words is None:
                people = 1 + max(other for other in layout.subjects if other is not None)
                subject_words = torch.zeros(people, layout.text_length, dtype=torch.bool)
            named = torch.arange(len(subject_words)) == subject
            subject_words = subject_words | (named[:, None] & layout.words[row])
    return TokenLayout(
        layout.video, [layout.references[row] for row in rows], layout.words[list(rows)], subject_words,
        r2pe=layout.r2pe, csam=layout.csam, mcam_ratio=layout.mcam_ratio, rules=layout.rules,
    )  # fmt: skip


def shuffled(binding: Binding, generator: torch.Generator) -> Binding:
    """The binding with its subjects in random order, and each one's attributes too, behind the face.

    Words keep their owners: they were bound in the order of the scene.
    """
    subjects = [entity.subject for entity in binding.references]
    people = 1 + max([subject for subject in subjects if subject is not None], default=-1)
    people = max(people, len(binding.subject_words or ()))
    order = torch.randperm(people, generator=generator).tolist()
    rows = [row for row, subject in enumerate(subjects) if subject is None]
    for subject in order:
        own = [row for row, other in enumerate(subjects) if other == subject]
        faces = [row for row in own if binding.references[row].kind == "face"]
        others = [row for row in own if row not in faces]
        rows += faces + [others[place] for place in torch.randperm(len(others), generator=generator).tolist()]
    renumbered = {subject: number for number, subject in enumerate(order)}
    references = tuple(
        replace(entity, subject=None if entity.subject is None else renumbered[entity.subject])
        for entity in (binding.references[row] for row in rows)
    )
    subject_words = binding.subject_words and [binding.subject_words[subject] for subject in order]
    return replace(
        binding, references=references, words=[binding.words[row] for row in rows], subject_words=subject_words
    )


def scattered(scene: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
    """The scene with every picture of its people as an object of its own, in random order: nothing but the text says
    who owns what, not even the order of the references.

    Args:
        scene: in the scene format, each face and attribute with a picture.
    """
    loose = list(scene.get("objects", []))
    for subject in scene.get("subjects", []):
        face = {key: subject[key] for key in ("id", "word", "occurrence", "strength") if key in subject}
        loose += [face | {"image": subject["face"]}, *subject.get("attributes", [])]
    order = torch.randperm(len(loose), generator=generator).tolist()
    rest = {key: value for key, value in scene.items() if key not in ("objects", "subjects")}
    return rest | {"objects": [loose[place] for place in order]}
