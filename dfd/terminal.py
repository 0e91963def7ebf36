"""Printable text: names from strangers without control sequences for a terminal."""


def printable(text: str, keep: str = "\n\t") -> str:
    """`text` with all that is not printable escaped, commands to the terminal and broken UTF-8 included, but
    for `keep`.
    """
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )
