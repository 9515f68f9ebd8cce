"""The size of a page of the book, and how soon it can be used: `python benchmarks/page.py [FOLDER [PAGE]]`.

Every load is a first visit, in a browser without a cache, from a server on this machine that compresses text, as web
servers do. The browser is Debian's chromium; nothing else should run at the same time.
"""

from __future__ import annotations

import gzip
import shutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from playwright.sync_api import Browser, sync_playwright

LOADS = 5
TEXT = {".html", ".css", ".js", ".svg", ".json"}
MEASURE = """async () => {
    await window.MathJax?.startup.promise;
    const [page] = performance.getEntriesByType("navigation");
    return {
        interactive: page.domContentLoadedEventEnd,
        typeset: performance.now(),
        files: [page, ...performance.getEntriesByType("resource")].map(entry => [entry.name, entry.transferSize]),
    };
}"""


class Handler(SimpleHTTPRequestHandler):
    """Serves the files of a folder, with text compressed, and logs nothing."""

    def do_GET(self) -> None:
        """Answer with a file: compressed if it is text."""
        path = Path(self.translate_path(self.path))
        if path.suffix not in TEXT or not path.is_file():
            return super().do_GET()
        body = gzip.compress(path.read_bytes())
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Log nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves the folder's files within the ``with`` block; gives their address."""
    with ThreadingHTTPServer(("localhost", 0), partial(Handler, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's chromium, which can reach no host but this one."""
    path = shutil.which("chromium")
    if path is None:
        raise FileNotFoundError("no chromium on the path: apt-get install chromium")
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def measure(browser: Browser, url: str) -> dict[str, float]:
    """A first visit: bytes transferred without MathJax and for it, files, milliseconds until the page can be used."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    found = page.evaluate(MEASURE)
    context.close()
    mathjax = sum(size for name, size in found["files"] if "/mathjax/" in name)
    return {
        "bytes before MathJax": sum(size for _, size in found["files"]) - mathjax,
        "bytes of MathJax": mathjax,
        "files": len(found["files"]),
        "ms until interactive (DOMContentLoaded)": found["interactive"],
        "ms until typeset": found["typeset"],
    }


def main(folder: str = "_build/html", page: str = "book/intro.html") -> None:
    """Print the medians."""
    with serve(Path(folder)) as address, chromium() as browser:
        visits = [measure(browser, f"{address}/{page}") for _ in range(LOADS)]
    print(f"{page}: medians of {LOADS} first visits")
    for name in visits[0]:
        print(f"{statistics.median(visit[name] for visit in visits):12,.0f}  {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
