"""Decides which mention in the prompt means whom.

The longest phrase wins, a phrase that several entities share is paired only when the counts agree, and
whatever stays ambiguous is an error: a word bound to nobody, or to the wrong person, would otherwise be
noticed only in the video.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from lumosx.scene.entities import Declared
from lumosx.scene.mentions import find_phrase, find_plural, nearest_phrases
from lumosx.scene.messages import Report, dotted
from lumosx.scene.spec import Ambiguity, Rules
from lumosx.scene.text import Span, Tag


def resolve(
    prompt: str,
    entities: Sequence[Declared],
    tags: Sequence[Tag],
    rules: Rules,
    ambiguity: Ambiguity,
    report: Report,
) -> dict[str, tuple[Span, ...]]:
    """The characters of the clean `prompt` that name each entity, by entity id, in the order of the prompt.

    `rules` "paper" binds each mention to its owner; "release" marks every case-sensitive occurrence of a
    word for every entity that has it, as the authors' code does; `occurrence` and tags contradict that (LX005).
    Problems go into `report`; a faulty entity gets no spans.
    """
    if rules == "release":
        return _every_occurrence(prompt, entities, tags, report)
    return _Resolver(prompt, entities, tags, ambiguity, report).resolve()


def owners_of(tags: Sequence[Tag], entities: Sequence[Declared]) -> dict[str, list[Span]]:
    """The tagged spans of each entity that has any, by entity id."""
    spans: dict[str, list[Span]] = defaultdict(list)
    for tag in tags:
        for entity in entities:
            if tag.name in entity.names:
                spans[entity.id].append(tag.span)
    return dict(spans)


def inside(inner: Span, outer: Span) -> bool:
    """Whether `inner` is a proper part of `outer`."""
    return inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]


def overlap(first: Span, second: Span) -> bool:
    """Whether two spans share a character."""
    return first[0] < second[1] and second[0] < first[1]


def _every_occurrence(
    prompt: str, entities: Sequence[Declared], tags: Sequence[Tag], report: Report
) -> dict[str, tuple[Span, ...]]:
    tagged = owners_of(tags, entities)
    result: dict[str, tuple[Span, ...]] = {}
    for entity in entities:
        if entity.occurrence is not None or entity.id in tagged:
            text = "`rules: release` marks every occurrence of a word; `occurrence` and tags contradict it"
            report.add("LX005", (*entity.path, "occurrence"), f"{text}; drop them, or write `rules: paper`")
        spans: list[Span] = []
        for word in entity.words:
            found = find_phrase(word, prompt, case_sensitive=True)
            if not found:
                _report_absent(word, prompt, entity, report, " in this capitalisation (`rules: release`)")
            spans += found
        result[entity.id] = tuple(sorted(set(spans)))
    return result


def _report_absent(word: str, prompt: str, entity: Declared, report: Report, how: str = "") -> None:
    close = nearest_phrases(word, prompt)
    remedy = f"nearest: {close}; change the word or the prompt" if close else "change the word or the prompt"
    report.add("LX110", (*entity.path, "word"), f"{word!r} does not occur in the prompt{how}; {remedy}")


class _Resolver:
    """The rules of the paper, in four steps; `found` maps a case-folded phrase to its spans."""

    def __init__(
        self,
        prompt: str,
        entities: Sequence[Declared],
        tags: Sequence[Tag],
        ambiguity: Ambiguity,
        report: Report,
    ) -> None:
        self.prompt, self.entities, self.ambiguity, self.report = prompt, entities, ambiguity, report
        self.tagged = owners_of(tags, entities)
        self.found: dict[str, list[Span]] = {}
        self.spans: dict[str, list[Span]] = {entity.id: [] for entity in entities}
        self.claims: dict[Span, Declared] = {}  # mentions that a tag or `occurrence` gives to one entity

    def resolve(self) -> dict[str, tuple[Span, ...]]:
        self._search()
        self._longest_wins()
        self._explicit()
        self._shared()
        self._left_without()
        self._overlaps()
        return {name: tuple(sorted(set(spans))) for name, spans in self.spans.items()}

    def _search(self) -> None:
        for entity in self.entities:
            for word in entity.words:
                self.found[word.casefold()] = find_phrase(word, self.prompt) or find_plural(word, self.prompt)
                if entity.id not in self.tagged:
                    self._judge_presence(word, entity)

    def _judge_presence(self, word: str, entity: Declared) -> None:
        spans = self.found[word.casefold()]
        if not spans:
            _report_absent(word, self.prompt, entity, self.report)
        elif not find_phrase(word, self.prompt, case_sensitive=True):
            seen = sorted({self._at(span) for span in spans})
            text = f"{word!r} occurs only as {', '.join(map(repr, seen))}; `rules: release` would miss it"
            self.report.add("LX114", (*entity.path, "word"), f"{text}: write the word as in the prompt")

    def _longest_wins(self) -> None:
        """Drop each mention that lies inside a longer one; note it if the longer one is another owner's."""
        owners: dict[Span, set[object]] = defaultdict(set)
        for entity in self.entities:
            for span in self._mentions_of(entity):
                owners[span].add(entity.owner)
        for word, spans in list(self.found.items()):
            shortest = min((stop - start for start, stop in spans), default=0)
            longer = [span for span in owners if span[1] - span[0] > shortest]
            covered = {span: [outer for outer in longer if inside(span, outer)] for span in spans}
            self.found[word] = [span for span in spans if not covered[span]]
            self._note_covered(word, covered, owners)

    def _note_covered(self, word: str, covered: dict[Span, list[Span]], owners: dict[Span, set[object]]) -> None:
        for entity in self.entities:
            if word not in self._keys(entity) or entity.id in self.tagged:
                continue
            others = {s: [o for o in outer if owners[o] - {entity.owner}] for s, outer in covered.items()}
            longer = sorted({self._at(span).casefold() for outer in others.values() for span in outer})
            if longer:
                count = sum(bool(outer) for outer in others.values())
                text = f"{count} of {len(covered)} {word!r} lie inside the longer {', '.join(map(repr, longer))}"
                self.report.add("LX122", (*entity.path, "word"), f"{text}; not bound to {entity.id}")

    def _explicit(self) -> None:
        """Mentions given by a tag or by `occurrence`."""
        for entity in self.entities:
            tagged = self.tagged.get(entity.id)
            if tagged and entity.occurrence:
                text = f"{entity.id} has both `occurrence` and a tag {{word:id}} in the prompt; keep one"
                self.report.add("LX005", (*entity.path, "occurrence"), text)
            for span in tagged or self._numbered(entity):
                self._claim(span, entity)

    def _numbered(self, entity: Declared) -> list[Span]:
        spans = sorted({span for key in self._keys(entity) for span in self.found[key]})
        chosen: list[Span] = []
        for number in entity.occurrence or ():
            if number <= len(spans):
                chosen.append(spans[number - 1])
            elif spans:
                text = f"occurrence {number}, but {_named(entity)} occurs {_times(len(spans))}"
                self.report.add("LX111", (*entity.path, "occurrence"), f"{text}; write 1 to {len(spans)}")
        return chosen

    def _claim(self, span: Span, entity: Declared) -> None:
        first = self.claims.setdefault(span, entity)
        if first is entity and span not in self.spans[entity.id]:
            self.spans[entity.id].append(span)
            return
        text = f"{self._at(span)!r} at character {span[0]} is claimed by {first.id} and by {entity.id}"
        if first is entity:
            text = f"{entity.id} claims {self._at(span)!r} at character {span[0]} twice"
        self.report.add("LX111", (*entity.path, "occurrence"), f"{text}; keep one")

    def _shared(self) -> None:
        """Mentions that nobody claimed: all go to the one entity with that phrase, or are paired in order."""
        for key, spans in self.found.items():
            waiting = [
                entity
                for entity in self.entities
                if key in self._keys(entity) and entity.id not in self.tagged and entity.occurrence is None
            ]
            free = [span for span in spans if span not in self.claims]
            waiting = self._without_twins(waiting)
            if not waiting or not free:
                continue
            if len(waiting) == 1 or self.ambiguity == "all":
                for entity in waiting:
                    self.spans[entity.id] += free
            else:
                self._pair(key, free, waiting)

    def _without_twins(self, waiting: list[Declared]) -> list[Declared]:
        """Leave out attributes of one subject with the same word: nothing tells them apart."""
        alone: list[Declared] = []
        for entity in waiting:
            twin = next((e for e in alone if e.owner == entity.owner and e.kind == entity.kind == "attribute"), None)
            if twin is None:
                alone.append(entity)
                continue
            text = f"{_named(entity)} names two attributes of the same subject, see {dotted(twin.path)}"
            self.report.add("LX101", (*entity.path, "word"), f"{text}; add `occurrence:` to both, or use longer words")
        return alone if len(alone) == len(waiting) else []

    def _pair(self, key: str, free: list[Span], waiting: list[Declared]) -> None:
        names = ", ".join(entity.names[0] for entity in waiting)
        path = (*waiting[0].path, "word")
        if len(free) != len(waiting):
            text = f"{key!r} names {len(waiting)} entities ({names}) but occurs {_times(len(free))}"
            self.report.add("LX120", path, f"{text}: say which (occurrence:, or a longer word)")
            return
        for entity, span in zip(waiting, free, strict=True):
            self.spans[entity.id].append(span)
        pairs = ", ".join(f"{dotted(entity.path)}={entity.names[0]}" for entity in waiting)
        text = f"{key!r} names {len(waiting)} entities and occurs {_times(len(free))}: paired in order ({pairs})"
        text += f" in: {self._sentence(free)}"
        severity = "error" if self.ambiguity == "error" else None
        self.report.add("LX121", path, f"{text}; write `occurrence:` to confirm", severity)

    def _left_without(self) -> None:
        """Entities whose word occurs, but with no mention left for them."""
        for entity in self.entities:
            path = (*entity.path, "word")
            known = self.spans[entity.id] or not entity.words or self.report.faulty(path)
            if known or self.report.faulty((*entity.path, "occurrence")):
                continue
            claimed = {self.claims[span].id for span in self._mentions_of(entity) if span in self.claims}
            if claimed:
                text = f"every {_named(entity)} in the prompt is claimed by {', '.join(sorted(claimed))}"
                self.report.add("LX111", path, f"{text}; say which is {entity.id}'s")
            elif not self._mentions_of(entity):
                text = f"{_named(entity)} occurs in the prompt only inside longer words of the scene"
                self.report.add("LX110", path, f"{text}; use a longer word")

    def _overlaps(self) -> None:
        """Mentions of different owners that share characters; equal ones are what `ambiguity: all` wants."""
        for first, second in combinations(self.entities, 2):
            if first.owner == second.owner:
                continue
            for a in self.spans[first.id]:
                for b in self.spans[second.id]:
                    if overlap(a, b) and a != b:
                        text = f"{self._at(b)!r} ({second.id}) overlaps {self._at(a)!r} ({first.id}):"
                        text += " a word cannot carry two bindings; choose words that stand apart"
                        self.report.add("LX112", (*second.path, "word"), text)

    def _mentions_of(self, entity: Declared) -> list[Span]:
        if entity.id in self.tagged:
            return self.tagged[entity.id]
        return [span for key in self._keys(entity) for span in self.found[key]]

    @staticmethod
    def _keys(entity: Declared) -> list[str]:
        return [word.casefold() for word in entity.words]

    def _at(self, span: Span) -> str:
        return self.prompt[span[0] : span[1]]

    def _sentence(self, spans: list[Span]) -> str:
        """The part of the prompt from the first mention to the last, with the mentions marked."""
        text = self.prompt
        for start, stop in reversed(spans):
            text = f"{text[:start]}[{text[start:stop]}]{text[stop:]}"
        start, stop = max(0, spans[0][0] - 20), spans[-1][1] + 2 * len(spans) + 20
        return f"{'...' if start else ''}{text[start:stop]}{'...' if stop < len(text) else ''}"


def _named(entity: Declared) -> str:
    return " / ".join(map(repr, entity.words))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
