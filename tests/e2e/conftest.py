"""What tests of pages share: a browser."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser; without one the tests are skipped, but not where CI has promised one."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    lacking = [
        *(["the program chromium"] if binary is None else []),
        *(["the package playwright"] if importlib.util.find_spec("playwright") is None else []),
    ]
    if lacking:
        reason = f"no browser test without {' and '.join(lacking)}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()
