"""Result: what a workflow returns can be shown as Markdown, and in a notebook as HTML."""

from __future__ import annotations

from typing import ClassVar

from edgecnn.core import plugins


class Result:
    """Base of what workflows return. `renderer` names what writes it as Markdown, as `package.module:function`; it is
    imported when it is used, for results lie below their reports."""

    __slots__ = ()
    renderer: ClassVar[str] = "edgecnn.core.result:plain"

    def to_markdown(self) -> str:
        """The result as GitHub's Markdown."""
        text: str = plugins.resolve(self.renderer)(self)
        return text

    def _repr_html_(self) -> str:
        """What a notebook shows: the Markdown as HTML; tags within it are text."""
        from markdown_it import MarkdownIt

        html: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(self.to_markdown())
        return html


def plain(result: Result) -> str:
    """A result that says of itself in plain lines what it is (`page()`), as a block of code."""
    lines: str = result.page()  # type: ignore[attr-defined]
    return f"```text\n{lines}\n```\n"
