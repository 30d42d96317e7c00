"""The page's files, read once: a request's path is looked up in a table, never on the disk."""

from pathlib import Path

FOLDER = Path(__file__).with_name("page")
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}


def page_files(folder: Path = FOLDER) -> dict[str, tuple[bytes, str]]:
    """{path below the folder, with slashes: (content, media type)}; of other kinds of files nothing is served."""
    return {
        file.relative_to(folder).as_posix(): (file.read_bytes(), TYPES[file.suffix])
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix in TYPES
    }
