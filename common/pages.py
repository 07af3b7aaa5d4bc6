"""Pages of the documentation with a table that a program has measured."""

import re


def with_block(text: str, name: str, content: str) -> str:
    """A page with other content between `<!-- name -->` and `<!-- end of name -->`.

    Raises:
        ValueError: if the page has no such block.
    """
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not block.search(text):
        raise ValueError(f"the page has no block <!-- {name} --> ... <!-- end of {name} -->")
    return block.sub(lambda found: found[1] + content + found[2], text)
