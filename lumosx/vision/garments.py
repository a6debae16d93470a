"""What people wear, by the word that names it: what takes whose place on a body, and where on a body that is."""

import re

SLOTS = {
    "top": "shirt tshirt tee blouse sweater pullover jumper hoodie sweatshirt top tank vest polo turtleneck jersey "
    "tunic waistcoat",
    "bottom": "trousers pants jeans skirt shorts leggings slacks chinos",
    "dress": "dress gown suit jumpsuit overalls robe kimono uniform costume tuxedo",
    "outer": "jacket coat blazer cardigan parka overcoat trenchcoat raincoat cape cloak poncho",
    "shoes": "shoe boot sneaker sandal heels loafer slipper",
    "head": "hat cap beanie helmet headband turban beret crown fedora hood headscarf",
    "eyes": "glasses sunglasses eyeglasses spectacles goggles",
    "neck": "tie necktie bowtie scarf scarves shawl necklace",
    "carried": "bag handbag backpack purse briefcase satchel suitcase",
    "hair": "hair hairstyle haircut ponytail braid bun",
}
"""Garments and other things that take one another's place, by the word that names them in the singular or, where it has
none, the plural."""

PARTS = {"top": "chest", "dress": "chest", "outer": "chest", "neck": "chest", "bottom": "legs", "head": "head"}
"""The part of a body that the things of a slot cover, where it is a large one."""

_SLOT_OF = {word + end: name for name, words in SLOTS.items() for word in words.split() for end in ("", "s", "es")}


def slot(phrase: str) -> str:
    """The place on a body that an attribute takes; of what is in no slot, its last word.

    What it comes with does not count ("a dress with a scarf" is a dress), and the last word that is known does ("suit
    trousers" are trousers), but of several things the first ("a hat and a scarf" are a hat). Only attributes of one
    slot are compared: whether a hat is there says nothing of a shirt.
    """
    itself = re.split(r"\s(?:with|over|under|in|on)\s", phrase.lower())[0]
    things = [re.findall(r"[^\W_]+", thing) for thing in re.split(r"\b(?:and|of)\b", itself)]
    known = (_SLOT_OF[word] for words in things for word in reversed(words) if word in _SLOT_OF)
    return next(known, next((words[-1] for words in reversed(things) if words), ""))


def part(phrase: str) -> str | None:
    """The part of a body ("head", "chest", "legs") that an attribute covers; None where that is no large one."""
    return PARTS.get(slot(phrase))
