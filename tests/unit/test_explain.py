"""`lumosx explain`: the examples of the scene format in the terminal, as a page and as a figure, without weights."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from lumosx.cli.explain_figure import EMPTY, figure_png, mcam_matrices
from lumosx.cli.explain_html import page
from lumosx.cli.explanation import explain
from lumosx.cli.main import app
from lumosx.scene import Scene, import_release
from lumosx.scene.palette import SHARED_COLOUR, colour_of

RELEASE = json.loads((Path(__file__).parents[1] / "data" / "release_scenes.json").read_text(encoding="utf-8"))

MakeScene = Callable[..., Path]


def member(word: str, **fields: Any) -> dict[str, Any]:
    return {"word": word, "image": f"{word}.png", **fields}


def ana() -> dict[str, Any]:
    attributes = [member(word) for word in ("red wool coat", "round glasses", "knitted scarf")]
    return {
        "id": "ana_park",
        "prompt": "A young woman in a red wool coat walks through a snowy park at dusk. The young woman adjusts her "
        "round glasses and a knitted scarf.",
        "subjects": [{"id": "ana", "word": "young woman", "face": "ana.png", "attributes": attributes}],
        "background": member("snowy park"),
        "generation": {"size": "832x480", "frames": 81, "seeds": [1, 2, 3]},
    }


def crosswalk(**fields: Any) -> dict[str, Any]:
    people = [("ben", "white jacket", 1), ("carl", "black jacket", 2)]
    return {
        "id": "crosswalk",
        "prompt": "Two men stand at a bustling city crosswalk. The first man wears a crisp white jacket, while the "
        "second man contrasts sharply in a sleek black jacket, both deep in conversation.",
        "subjects": [
            {"id": name, "word": "man", "occurrence": k, "face": f"{name}.png", "attributes": [member(jacket)]}
            for name, jacket, k in people
        ],
        **fields,
    }


def kitchen() -> dict[str, Any]:
    people = ("person on the left", "middle person", "person on the right")
    things = ("headband", "black top", "striped shirt")
    subjects = [
        {"id": f"s{number}", "word": person, "face": f"{person}.png", "attributes": [member(thing)]}
        for number, (person, thing) in enumerate(zip(people, things, strict=True), start=1)
    ]
    return {
        "id": "kitchen",
        "prompt": "Three individuals stand in a modern kitchen. The person on the left, wearing a headband, smiles. "
        "The middle person, dressed in a black top, holds a utensil. The person on the right wears a striped shirt. "
        "In front of them are a wooden cutting board, a metal mixing bowl and a white baking dish.",
        "subjects": subjects,
        "objects": [member(word) for word in ("metal mixing bowl", "white baking dish", "wooden cutting board")],
        "background": member("modern kitchen"),
    }


def picture_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (item for key, item in value.items() if key in ("face", "image") and isinstance(item, str))
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from picture_paths(item)


@pytest.fixture
def make_scene(tmp_path: Path) -> MakeScene:
    """Writes a scene and a placeholder for each of its pictures; gives the scene's path."""

    def make(data: dict[str, Any]) -> Path:
        for number, path in enumerate(picture_paths(data)):
            Image.new("RGB", (200, 200), (number, 60, 90)).save(tmp_path / path)
        path = tmp_path / "scene.json"
        path.write_text(json.dumps({"lumosx": 1, **data}), encoding="utf-8")
        return path

    return make


def run(*arguments: str | Path, width: int = 120) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)], env={"COLUMNS": str(width), "NO_COLOR": "1"})


def table_row(output: str, title: str, name: str) -> list[str]:
    """The fields of the first line that starts with `name` after the line that starts with `title`."""
    lines = output.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(title))
    line = next(line for line in lines[start:] if line.startswith(name))
    return line.removeprefix(name).split()


def test_example_a(make_scene: MakeScene) -> None:
    result = run(make_scene(ana()))
    assert result.exit_code == 0, result.output
    assert "832x480, 81 frames = 21 x 30 x 52 tokens" in result.output
    assert table_row(result.output, "Segments", "video") == ["0-32759", "0-20", "0-29", "0-51"]
    assert table_row(result.output, "Segments", "background") == ["32760-34319", "21", "0-29", "0-51"]
    assert table_row(result.output, "Segments", "ana.knitted scarf") == ["39000-40559", "22", "90-119", "156-207"]
    assert table_row(result.output, "CSAM", "ana.face")[:2] == ["34320-35879", "34320-40559"]
    assert table_row(result.output, "MCAM", "background") == ["0"] * 5 + ["+1"] * 2 + ["0"] * 6
    assert table_row(result.output, "MCAM", "ana.round glasses") == ["+1"] * 5 + ["0"] * 2 + ["+1"] * 6


def test_example_b_binds_each_noun_to_its_owner(make_scene: MakeScene) -> None:
    result = run(make_scene(crosswalk()))
    assert result.exit_code == 0, result.output
    assert table_row(result.output, "MCAM", "reference") == ["man", "white", "jacket", "man", "black", "jacket"]
    assert table_row(result.output, "MCAM", "ben.face") == ["+1", "+1", "+1", "-1", "-1", "-1"]
    assert table_row(result.output, "MCAM", "carl.black jacket") == ["-1", "-1", "-1", "+1", "+1", "+1"]


def test_example_b_under_release_shows_that_the_noun_cancels(make_scene: MakeScene) -> None:
    data = crosswalk()
    for subject in data["subjects"]:
        del subject["occurrence"]
    result = run(make_scene(data), "--rules", "release")
    assert result.exit_code == 0, result.output
    assert "W LX123" in result.output
    assert table_row(result.output, "MCAM", "ben.face") == ["0", "+1", "+1", "0", "-1", "-1"]
    assert table_row(result.output, "MCAM", "carl.face") == ["0", "-1", "-1", "0", "+1", "+1"]


def test_example_c_fits_a_narrow_terminal(make_scene: MakeScene) -> None:
    result = run(make_scene(kitchen()), width=80)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    headers = [line.split()[1:] for line in lines if line.startswith("reference")]
    assert len(headers) > 1
    words = "modern kitchen person on the left headband middle person black top person on the right striped shirt"
    assert [
        word for header in headers for word in header
    ] == f"{words} wooden cutting board metal mixing bowl white baking dish".split()
    assert table_row(result.output, "CSAM", "s2.face")[2:] == ["all", "2", "members", "of", "s2"]


def test_size_and_frames_override_the_scene(make_scene: MakeScene) -> None:
    result = run(make_scene(ana()), "--size", "416x240", "--frames", "9")
    assert "416x240, 9 frames = 3 x 15 x 26 tokens" in result.output
    assert table_row(result.output, "Segments", "ana.red wool coat")[1:] == ["4", "15-29", "26-51"]


def test_switched_off_mechanisms_are_named(make_scene: MakeScene) -> None:
    result = run(make_scene(crosswalk(binding={"r2pe": False, "csam": False, "mcam": False})))
    assert result.exit_code == 0, result.output
    for title in ("R2PE is off", "every token sees every token", "MCAM levels, equation (3): off"):
        assert title in result.output
    assert table_row(result.output, "CSAM", "carl.face")[2:] == ["everything"]


def test_a_text_only_attribute_is_its_subjects_word(make_scene: MakeScene) -> None:
    data = crosswalk()
    del data["subjects"][0]["attributes"][0]["image"]
    result = run(make_scene(data))
    assert "'white jacket' (no picture)" in result.output
    assert table_row(result.output, "MCAM", "ben.face") == ["+1", "+1", "+1", "-1", "-1", "-1"]
    assert not any(line.startswith("ben.white jacket") for line in result.output.splitlines())


def test_a_word_is_cut_where_a_mention_ends(make_scene: MakeScene) -> None:
    people = [{"id": word, "word": word, "face": f"{word}.png"} for word in ("Ann", "Bob")]
    result = run(make_scene({"id": "cut", "prompt": "It is Ann/Bob's day.", "subjects": people}))
    assert table_row(result.output, "MCAM", "reference") == ["Ann", "Bob"]
    assert table_row(result.output, "MCAM", "Ann.face") == ["+1", "-1"]


def test_a_scene_without_references(make_scene: MakeScene, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scene = make_scene({"id": "empty", "prompt": "A room."})
    result = run(scene, "--html", out / "a.html", "--png", out / "a.png")
    assert result.exit_code == 0, result.output
    assert "no reference has words" in result.output
    assert "W LX130" in result.output
    assert sorted(path.name for path in out.iterdir()) == ["a.html", "a.png"]


def test_a_wrong_scene_is_exit_2_with_every_message(make_scene: MakeScene, tmp_path: Path) -> None:
    data = crosswalk(background=member("moon"))
    data["subjects"][0]["strength"] = 1.5
    data["generation"] = {"frames": 80}
    result = run(make_scene(data), "--png", tmp_path / "a.png")
    assert result.exit_code == 2
    for code in ("E LX110", "E LX003", "W LX142"):
        assert code in result.output
    assert not (tmp_path / "a.png").exists()


def test_a_wrong_option_is_exit_2(make_scene: MakeScene) -> None:
    result = run(make_scene(ana()), "--size", "830x480", "--frames", "80")
    assert result.exit_code == 2
    assert "816x480 or 832x480" in result.output
    assert "77 or 81" in result.output
    assert "--size 830x480" in result.output


def test_lines_stay_with_a_size_and_the_sandbox_confines(make_scene: MakeScene) -> None:
    data = ana()
    data["subjects"][0]["face"] = "../ana.png"
    scene = make_scene(data)
    found = run(scene, "--size", "416x240", "--sandbox")
    assert found.exit_code == 2 and "LX220" in found.output
    assert re.search(rf"{re.escape(scene.name)}:\d+ subjects\[0\]\.face", found.output)
    assert "LX220" not in run(scene, "--size", "416x240").output


@pytest.mark.parametrize("sample", RELEASE)
def test_the_scenes_of_the_release_have_no_error(sample: str, tmp_path: Path) -> None:
    shade = count()
    for name, size in RELEASE[sample]["files"].items():
        path = tmp_path / "in" / "sample" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", tuple(size), (next(shade), 60, 90)).save(path)
    (tmp_path / "in" / "sample" / "caption.txt").write_text(RELEASE[sample]["caption"], encoding="utf-8")
    (imported,) = import_release(tmp_path / "in")
    assert imported.data is not None
    scene = tmp_path / "in" / "sample.json"
    scene.write_text(json.dumps(imported.data), encoding="utf-8")
    result = run(scene, "--png", tmp_path / "a.png", "--html", tmp_path / "a.html")
    assert result.exit_code == 0, result.output
    assert "E LX" not in result.output
    assert (tmp_path / "a.png").exists() and (tmp_path / "a.html").exists()


@pytest.mark.parametrize("make", [ana, crosswalk, kitchen])
def test_the_figure_is_a_picture_of_sane_size(make: Callable[[], dict], make_scene: MakeScene, tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "masks.png"
    assert run(make_scene(make()), "--png", target).exit_code == 0
    with Image.open(target) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert 1000 <= picture.width <= 4000
        assert 600 <= picture.height <= 4000
        colours = {pixel for _, pixel in picture.convert("RGB").getcolors(1 << 24) or []}
    for number in range(len(make()["subjects"])):
        assert tuple(bytes.fromhex(colour_of("face", number)[1:])) in colours
    assert [path.name for path in target.parent.iterdir()] == ["masks.png"]


def test_a_figure_of_hundreds_of_words_stays_bounded(tmp_path: Path) -> None:
    faces = [{"id": word, "word": word, "face": Image.new("RGB", (200, 200), word)} for word in ("red", "blue")]
    data = {"lumosx": 1, "prompt": "red and blue, " * 170, "subjects": faces}
    target = tmp_path / "a.png"
    target.write_bytes(figure_png(explain(Scene.from_dict(data))))
    with Image.open(target) as picture:
        assert max(picture.size) <= 8001


def test_the_figure_shows_the_tables(make_scene: MakeScene) -> None:
    data = crosswalk()
    for subject in data["subjects"]:
        del subject["occurrence"]
    scene = Scene.load(make_scene(data | {"binding": {"rules": "release"}}))
    (matrix,) = mcam_matrices(explain(scene))
    assert [line.text for line in matrix.columns] == ["man", "white", "jacket", "man", "black", "jacket"]
    assert matrix.columns[0].colour == matrix.columns[3].colour == SHARED_COLOUR
    assert [cell.text for cell in matrix.cells[0]] == ["0", "+1", "+1", "0", "−1", "−1"]
    assert [cell.colour == EMPTY for cell in matrix.cells[0]] == [True, False, False, True, False, False]
    assert len({cell.colour for row in matrix.cells for cell in row}) == 3


class Elements(HTMLParser):
    """What a browser would make of a page: its tags, the names of their attributes, its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.titles: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_the_same(make_scene: MakeScene, tmp_path: Path) -> None:
    assert run(make_scene(crosswalk()), "--html", tmp_path / "a.html").exit_code == 0
    source = (tmp_path / "a.html").read_text(encoding="utf-8")
    elements = Elements(source)
    assert elements.tags.count("table") == 4
    assert "The first man wears a crisp white jacket" in elements.text
    assert "ben.face, “man” (carl.face)" in elements.titles
    assert "32760-34319" in elements.text
    assert "http:" not in source.replace("http-equiv", "") and "https:" not in source
    assert "prefers-color-scheme: dark" in source


EVIL = "<script>alert(1)</script>"
QUOTED = 'x" onmouseover="alert(2)'
CLOSING = "</style><img src=x onerror=alert(3)>"
MARKUP = "[bold red]$\\frac$[/]"  # of rich and of matplotlib


def test_scene_text_cannot_become_markup(make_scene: MakeScene, tmp_path: Path) -> None:
    attributes = [member(EVIL, image="b.png"), *({"word": word} for word in (QUOTED, CLOSING, MARKUP))]
    prompt = f"A man says {EVIL} and {QUOTED} and {MARKUP} {CLOSING}."
    subject = {"id": "a", "word": "man", "face": "a.png", "attributes": attributes}
    scene = make_scene({"id": "evil", "prompt": prompt, "subjects": [subject]})
    result = run(scene, "--html", tmp_path / "a.html", "--png", tmp_path / "a.png", width=300)
    assert result.exit_code == 0, result.output
    assert MARKUP in result.output
    elements = Elements((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert EVIL in elements.text and QUOTED in elements.text
    assert not {"script", "img"} & set(elements.tags)
    assert elements.tags.count("style") == 1
    assert not {name for name in elements.attributes if name.startswith("on") or name in ("src", "href")}


def test_a_page_is_made_whole_or_not_at_all(make_scene: MakeScene, tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    target = tmp_path / "out" / "a.html"
    target.parent.mkdir()
    target.write_text("old")
    monkeypatch.setattr("os.replace", fail)
    assert run(make_scene(ana()), "--html", target).exit_code == 1
    assert [(path.name, path.read_text()) for path in target.parent.iterdir()] == [("a.html", "old")]


def test_no_model_library_is_imported(make_scene: MakeScene, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom lumosx.cli.main import app\n"
        "assert 'torch' not in sys.modules\nresult = CliRunner().invoke(app, sys.argv[1:])\n"
        "assert result.exit_code == 0, result.output\n"
        "print({'diffusers', 'transformers', 'torchvision'} & set(sys.modules))"
    )
    arguments = ["explain", make_scene(ana()), "--html", tmp_path / "a.html", "--png", tmp_path / "a.png"]
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "set()", result.stderr


def test_explaining_in_a_notebook_needs_no_files() -> None:
    face = Image.new("RGB", (200, 200))
    scene = Scene.from_dict({"lumosx": 1, "prompt": "A man.", "subjects": [{"id": "a", "word": "man", "face": face}]})
    assert [word.text for word in explain(scene).columns] == ["man"]
    assert "<h1>scene</h1>" in page(explain(scene))
