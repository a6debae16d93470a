"""Answers that people wrote beforehand, in files, in the place of a model's."""

import hashlib
from pathlib import Path, PurePosixPath

from lumosx.errors import InputError
from lumosx.files import sha256_of
from lumosx.vision import ModelCard, Question


class Sidecar:
    """Answers questions about a video from a file of its name: text from NAME.txt, JSON from NAME.json.

    The files lie as the videos do: of a/b.mp4 below the folder of videos, a/b.txt below `place`, which may be the same
    folder. A video's text answers for each of its clips.

    The card's revision is a digest of all these files, so that a changed one is read again; but then so are all, and
    what follows from them is measured again. What curation wrote of a data set in the folder is none of them.

    Args:
        place: the folder.
        device: not used.

    Raises:
        InputError: no such folder, or none of these files in it.
    """

    def __init__(self, place: str | Path, device: str = "cpu") -> None:
        del device
        self._folder = Path(place).expanduser()
        found = (path for suffix in (".txt", ".json") for path in self._folder.rglob(f"*{suffix}"))
        files = sorted(path for path in found if not _is_curations(path, self._folder))
        if not files:
            what = "holds no NAME.txt and no NAME.json" if self._folder.is_dir() else "no such folder"
            raise InputError(f"{place}: {what}; give the one with these files beside NAME of each video")
        lines = "".join(f"{file.relative_to(self._folder).as_posix()} {sha256_of(file)}\n" for file in files)
        digest = hashlib.sha256(lines.encode()).hexdigest()
        self.card = ModelCard("sidecar files", "written by people", digest, "the user's own", True)

    def answer(self, question: Question) -> str:
        """The file's text; `question.facts["source"]` is the name of the video below its folder.

        Raises:
            InputError: there is no such file, or it is not UTF-8.
        """
        name = PurePosixPath(question.facts["source"]).with_suffix(".txt" if question.schema is None else ".json")
        try:
            return (self._folder / name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            wanted = "what the clip shows" if question.schema is None else "its entities"
            raise InputError(f"{self._folder / name}: cannot be read ({error}); write {wanted} into it") from error


def _is_curations(file: Path, folder: Path) -> bool:
    """Whether it is of a data set below a folder: curation keeps these files there from its first plan or run on."""
    own = [folder / each for each in file.relative_to(folder).parents if each.name == "curation"]
    return any((each / name).is_file() for each in own for name in ("setup.json", "sources.json"))
