"""Files that strangers made to harm, and what they hide in pictures."""

import io
import zipfile


def zipped(name: str = "note.txt", content: str = "hidden" * 30) -> bytes:
    """A zip archive of one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()
