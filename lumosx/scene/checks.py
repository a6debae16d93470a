"""The checks that need more than one field of a scene: ids, counts, trained ranges, who stands next to
whom.
"""

from collections.abc import Sequence

from lumosx.scene.entities import Declared, Entity
from lumosx.scene.mentions import find_phrase
from lumosx.scene.messages import Path, Report
from lumosx.scene.resolution import overlap
from lumosx.scene.spec import Rules, SceneSpec
from lumosx.scene.text import Span, Tag

MAX_ATTRIBUTES = 3  # the paper's data: at most three attributes a face
TRAINED_SUBJECTS = 3
MAX_SUBJECTS = 8
TRAINED_RATIO = 0.5

# What people wear, for the note LX132. English, as the training captions are.
CLOTHING = (
    "apron", "bandana", "beanie", "belt", "blazer", "blouse", "boots", "bow tie", "bracelet", "cap", "cape",
    "cardigan", "cloak", "coat", "dress", "earrings", "glasses", "gloves", "gown", "hat", "headband",
    "headscarf", "helmet", "hoodie", "jacket", "jeans", "jersey", "jumper", "kimono", "leggings", "mask",
    "necklace", "overalls", "pants", "polo", "poncho", "pullover", "robe", "sandals", "scarf", "shawl",
    "shirt", "shoes", "shorts", "skirt", "sneakers", "socks", "suit", "sunglasses", "sweater", "sweatshirt",
    "swimsuit", "t-shirt", "tank top", "tie", "trousers", "tunic", "turban", "turtleneck", "uniform",
    "veil", "vest", "waistcoat",
)  # fmt: skip


def check_scene(spec: SceneSpec, prompt: str, report: Report, require_consent: bool) -> None:
    """What concerns the scene as a whole: prompt, seeds, numbers of things, trained ranges, consent."""
    if not prompt and not report.faulty(("prompt",)):
        report.add("LX004", ("prompt",), "the prompt is empty or missing; describe the clip in it")
    check_seeds(spec.output.name, spec.generation.seeds or (), report)
    _check_counts(spec, report)
    _check_trained_ranges(spec, report)
    if require_consent:
        for index, subject in enumerate(spec.subjects):
            if not (subject.consent or "").strip():
                text = f"{subject.id} has no `consent`, which this run requires; refer to the permission there"
                report.add("LX230", ("subjects", index, "consent"), text)


def check_seeds(name: str, seeds: Sequence[int], report: Report) -> None:
    """LX103: several seeds under an output name without {seed}."""
    if len(seeds) > 1 and "{seed}" not in name:
        text = f"{len(seeds)} seeds would all write {name!r}; put {{seed}} into the name"
        report.add("LX103", ("output", "name"), text)


def _check_counts(spec: SceneSpec, report: Report) -> None:
    if not (spec.subjects or spec.objects or spec.background or report.has_errors):
        report.add("LX130", (), "no subject, object or background: this is plain text-to-video")
    count = len(spec.subjects)
    if count > MAX_SUBJECTS:
        report.add("LX141", ("subjects",), f"{count} subjects; at most {MAX_SUBJECTS} are possible", "error")
    elif count > TRAINED_SUBJECTS:
        text = f"{count} subjects; the paper trained on 1 to {TRAINED_SUBJECTS} and tested 4: expect mix-ups"
        report.add("LX141", ("subjects",), text)
    for index, subject in enumerate(spec.subjects):
        path: Path = ("subjects", index)
        parts = len(subject.attributes)
        if parts > MAX_ATTRIBUTES:
            text = f"{subject.id} has {parts} attributes; the paper advises at most {MAX_ATTRIBUTES}"
            report.add("LX140", (*path, "attributes"), text)
        if subject.face is None and parts:
            report.add("LX131", path, f"{subject.id} has attributes but no face: the person is up to the model")
        if report.faulty(path):
            continue
        if subject.face is None and not parts:
            report.add("LX003", path, f"{subject.id} has neither `face` nor `attributes`; give one of them")
        if subject.word is None and (subject.face is not None or subject.occurrence is not None):
            report.add("LX003", path, f"{subject.id} needs a `word`: what the prompt calls this person")


def _check_trained_ranges(spec: SceneSpec, report: Report) -> None:
    ratio = spec.binding.mcam_ratio
    if ratio is not None and ratio != TRAINED_RATIO:
        text = f"mcam_ratio {ratio:g}; the paper trained with {TRAINED_RATIO}"
        report.add("LX142", ("binding", "mcam_ratio"), f"{text}: leave it out unless you test its effect")
    stated: list[tuple[Path, float]] = []
    if spec.background is not None:
        stated.append((("background", "strength"), spec.background.strength))
    stated += [(("objects", i, "strength"), thing.strength) for i, thing in enumerate(spec.objects)]
    for index, subject in enumerate(spec.subjects):
        stated.append((("subjects", index, "strength"), subject.strength))
        for number, part in enumerate(subject.attributes):
            stated.append((("subjects", index, "attributes", number, "strength"), part.strength))
    for path, strength in stated:
        if strength != 1:
            report.add("LX142", path, f"strength {strength:g}; training knew only 1: results may get worse")


def check_entities(entities: Sequence[Declared], tags: Sequence[Tag], report: Report) -> None:
    """Ids that are given twice, and tags that name nobody."""
    seen: dict[str, Declared] = {}
    for entity in entities:
        for name in entity.names:
            if name in seen and entity.kind != "attribute":
                text = f"the id {name!r} is used twice in this scene; give each its own"
                report.add("LX101", (*entity.path, "id"), text)
            seen.setdefault(name, entity)
    for tag in tags:
        if tag.name not in seen:
            text = f"the tag '{{...:{tag.name}}}' names no entity; known ids: {', '.join(seen) or 'none'}"
            report.add("LX004", ("prompt",), text)


def check_owners(
    prompt: str,
    entities: Sequence[Entity],
    declared: Sequence[Declared],
    names: Sequence[str],
    report: Report,
) -> None:
    """LX124: the attribute stands next to somebody else. LX132: clothing without a picture."""
    faces = [(span, e.subject) for e in entities if e.kind == "face" and e.subject is not None for span in e.spans]
    for entity, written in zip(entities, declared, strict=True):
        if entity.kind != "attribute" or entity.subject is None or not entity.spans:
            continue
        neighbours = [_neighbours(span, faces, prompt) for span in entity.spans]
        if all(near and entity.subject not in near for near in neighbours):
            other = names[min(neighbours[0])]
            text = f"{entity.words[0]!r} belongs to {names[entity.subject]} but stands nearer to {other}"
            report.add("LX124", (*written.path, "word"), f"{text} in the prompt; check the owner, or reword it")
    if faces:
        _note_clothing(prompt, entities, report)


def _neighbours(span: Span, faces: Sequence[tuple[Span, int]], prompt: str) -> set[int]:
    """The subjects of the mention nearest to `span` in its sentence; English names a person before the
    clothes.
    """
    same = [(face, who) for face, who in faces if not _sentence_ends(prompt, face, span)]
    before = [face for face, _ in same if face[0] < span[0]]
    after = [face for face, _ in same if face[0] >= span[0]]
    if not before and not after:
        return set()
    nearest = max(before) if before else min(after)
    return {who for face, who in same if face == nearest}


def _sentence_ends(prompt: str, first: Span, second: Span) -> bool:
    between = prompt[min(first[1], second[1]) : max(first[0], second[0])]
    return any(mark in between for mark in (". ", "! ", "? ", "。", "！", "？"))


def _note_clothing(prompt: str, entities: Sequence[Entity], report: Report) -> None:
    pictured = [span for entity in entities if entity.image is not None for span in entity.spans]
    bare: list[str] = []
    for name in CLOTHING:
        spans = find_phrase(name, prompt)
        if any(not any(overlap(span, other) for other in pictured) for span in spans):
            bare.append(name)
    bare += [e.words[0] for e in entities if e.image is None and e.kind == "attribute" and e.words[0] not in bare]
    if bare:
        listed = ", ".join(map(repr, bare))
        report.add("LX132", ("prompt",), f"no picture for {listed}: only the text says how these look")


def check_cancellation(
    entities: Sequence[Entity],
    declared: Sequence[Declared],
    rules: Rules,
    names: Sequence[str],
    report: Report,
) -> None:
    """LX123: a mention that several subjects own, with the levels that MCAM gives to it."""
    members = [entity for entity in entities if entity.subject is not None]
    told: set[tuple[str, tuple[int, ...]]] = set()
    for entity, written in zip(entities, declared, strict=True):
        for span in entity.spans if entity.subject is not None else ():
            touching = [m.subject for m in members if m.subject is not None and any(overlap(span, s) for s in m.spans)]
            owners = tuple(sorted(set(touching)))
            word = " / ".join(entity.words)
            if len(owners) < 2 or (word, owners) in told:
                continue
            told.add((word, owners))
            levels = (
                f"{name} {_level(n in owners, len(owners), len(names), rules):+.2g}" for n, name in enumerate(names)
            )
            text = f"{word!r} names {', '.join(names[n] for n in owners)}: MCAM cannot tell them apart by it"
            text += f" (levels: {', '.join(levels)})"
            report.add(
                "LX123",
                (*written.path, "word"),
                f"{text}; use different words, or `rules: paper` and `occurrence`",
            )


def _level(own: bool, owners: int, subjects: int, rules: Rules) -> float:
    """The level of a word in a subject's rows (relations.mcam.relation_levels, for one word)."""
    if rules == "paper":
        return 1.0 if own else -1.0
    return own - (owners - own) / (subjects - 1)
