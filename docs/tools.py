"""Table of the forensic tools: prints docs/forensic-tools.md from their words.

python docs/tools.py > docs/forensic-tools.md
"""

from __future__ import annotations

from dfd.forensics import TOOLS, Catalogue
from dfd.forensics.face import face_tools
from dfd.forensics.measured import measured
from dfd.forensics.noise.camera_match import METHOD as CAMERA
from dfd.inspection.evidence import error_rate

HEAD = """# The forensic tools

This page says of each tool of `dfd inspect` what to look at, what to ignore, and how often it errs. The
words are those of the page that `dfd inspect` writes; `docs/tools.py` prints them from the catalogue. How
the figures were measured: [Forensic tools, measured](results/forensics.md). How to read a page:
[Reading a page](reading-a-page.md).
"""


def main() -> None:
    words = Catalogue()
    print(HEAD)
    methods = [tool.method for tool in (*TOOLS, *face_tools(None))]
    for method in (*methods, CAMERA):
        print(f"## {words.title(method.tool)}\n")
        print(f"Name in JSON: `{method.tool}`, version {method.version}.\n")
        print(f"- **Look at:** {words.look(method.tool)}")
        print(f"- **Ignore:** {words.ignore(method.tool)}")
        if said := error_rate(measured(method.tool, method.version), method.kind, words):
            print(f"- **How far to believe it:** {said}")
        print(f"- **Method:** {method.source}.\n")


if __name__ == "__main__":
    main()
