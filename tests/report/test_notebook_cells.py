"""What a cell shows keeps its shape in a notebook, whose own rules are about tables, too."""

from lab.report import fragment
from tests.support.browser import chromium

JUPYTERLAB = """
.jp-OutputArea-output pre { white-space: pre-wrap; word-break: break-all }
.jp-ThemedContainer .jp-RenderedHTMLCommon td { text-align: right; padding: 0.5em }
"""
WHERE = "jp-ThemedContainer", "jp-RenderedHTMLCommon jp-OutputArea-output"


def test_words_stand_on_the_left_and_a_picture_of_letters_is_not_wrapped() -> None:
    table = fragment.table("Events", ["type", "ms"], [["PostCreated", "3"]])
    shown = fragment.piece(table, fragment.as_pre("─" * fragment.TEXT_WIDTH + "\nanswered"))
    outer, inner = WHERE
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 400, "height": 300})
        page.set_content(
            f'<div class="{outer}"><div class="{inner}">{shown}</div></div>'
            f"<style>{JUPYTERLAB}</style>"
        )
        style = "([what, rule]) => getComputedStyle(document.querySelector(what))[rule]"
        assert page.evaluate(style, ["td.left", "textAlign"]) == "left"
        assert page.evaluate(style, ["td:last-child", "textAlign"]) == "right"
        assert page.evaluate(style, ["pre", "whiteSpace"]) == "pre"
