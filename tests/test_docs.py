"""The pages: their code runs and prints what they say, and their links lead somewhere.

Blocks marked ``python`` are grufast's and run here, those of a page in one namespace;
a ``text`` block behind one is what it prints. Blocks marked ``py`` are of other
libraries. docs/sklearn.md is run by test_sklearn.py.
"""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import doc_reference
import grufast as gf

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
COMPARISON = ROOT / "examples" / "keras_to_grufast.md"
PAGES = [README, *DOCS, COMPARISON, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
RECORDED = Path(__file__).parent / "data" / "keras_recurrent.json"
KERAS_GRU = ["GRU", {"reset_after": True}]
CODE = re.compile(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"```.*?```", re.DOTALL)

pytestmark = pytest.mark.skipif(not DOCS, reason="the wheel's tests have no docs")


def with_code() -> list[Path]:
    pages = [p for p in PAGES if p.exists() and p.name != "sklearn.md"]
    return [page for page in pages if CODE.search(page.read_text(encoding="utf-8"))]


def slugs(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub and the site make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    kept = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"\s", "-", heading) for heading in kept}


@pytest.mark.usefixtures("keep_num_threads")
@pytest.mark.parametrize("page", with_code(), ids=lambda page: page.name)
def test_code_runs_and_prints_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gf.set_num_threads(1)  # the same bits, and no waiting for busy processors
    names: dict[str, Any] = {}
    text = page.read_text(encoding="utf-8")
    for block in CODE.finditer(text):
        code, expected = block.groups()
        # As many lines in front as on the page, so that tracebacks name its lines.
        lines = "\n" * text.count("\n", 0, block.start(1))
        written = io.StringIO()
        with contextlib.redirect_stdout(written):
            exec(compile(lines + code, page, "exec"), names)
        if expected is not None:
            assert written.getvalue() == expected, code


def test_the_conversion_of_weights_is_right() -> None:
    """That of the comparison, on weights and outputs that Keras has recorded."""
    text = COMPARISON.read_text(encoding="utf-8")
    (code,) = [c for c, _ in CODE.findall(text) if "def gru_weights" in c]
    names: dict[str, Any] = {"np": np}
    exec(code.split("\n\n\n")[0], names)
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    (case,) = [case[2] for case in recorded["cases"] if case[:2] == KERAS_GRU]
    layer = gf.layers.GRU(3, return_sequences=True, dtype="float64")
    layer.build(2)
    layer.set_weights(names["gru_weights"](*map(np.array, case["weights"])))
    y = layer(np.array(recorded["x"]))
    np.testing.assert_allclose(y, case["ways"]["plain"][0], rtol=1e-12, atol=1e-14)


def test_pages_with_code_are_found() -> None:
    names = {page.name for page in with_code()}
    assert {"README.md", "keras_to_grufast.md", "training.md", "recurrent.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in slugs(target), link


def test_the_reference_lists_what_the_package_has() -> None:
    page = ROOT / "docs" / "reference.md"
    assert page.read_text(encoding="utf-8") == doc_reference.page(), (
        "run python tests/doc_reference.py"
    )


def test_every_page_is_in_the_sites_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = {ROOT / name for name in re.findall(r"[\w/]+\.md", contents)}
    assert {README, *DOCS, COMPARISON} <= listed
    assert all(page.exists() for page in listed)
