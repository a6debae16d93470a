"""What the project's pages share: each is one file that asks nobody for anything, and they look alike.

Templates escape whatever they are given, because captions, file names and errors come from strangers.
"""

import base64
import io
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"  # load and run nothing
THUMBNAIL = 160  # pixels of a picture's longer side at most


def data_uri(kind: str, data: bytes) -> str:
    """Bytes of a media type such as "image/png", for a page to hold."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture_uri(picture: Image.Image, side: int = THUMBNAIL) -> str:
    """A picture as JPEG, at most `side` pixels on its longer side; white where it is transparent."""
    small = picture.convert("RGBA") if picture.has_transparency_data else picture.convert("RGB")
    small.thumbnail((side, side))
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return data_uri("image/jpeg", buffer.getvalue())


def template(package: str, name: str, **known: Any) -> Template:
    """A template that lies in a package, with escaping; it may import `pages.html.j2` and call functions by name."""
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("lumosx", ".")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals.update(known)
    return environment.get_template(name)


@cache
def resource(package: str, name: str) -> Markup:
    """A file of a package, trusted: a style sheet or a script."""
    return Markup(files(package).joinpath(name).read_text(encoding="utf-8"))


def style(package: str, *names: str) -> Markup:
    """The style sheet of all pages, and a package's own."""
    return Markup("\n").join([resource("lumosx", "pages.css"), *(resource(package, name) for name in names)])
