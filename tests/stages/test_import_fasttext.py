"""A published model in the shape of a trained one: from a path, a memory file system, an HTTP server, and a server that talks as the hub does."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fasttext
import fsspec
import numpy as np
import pytest

from stages.core.config import ConfigError
from stages.core.engine import run_plan
from stages.core.plan import Plan
from stages.core.resolve import open_node, resolve
from stages.core.stage import Inputs, Resources
from stages.core.store import Store
from stages.import_fasttext import ImportFasttext, import_fasttext, published_digest
from stages.list_warcs import list_warcs
from stages.read_texts import read_texts
from stages.score_fasttext import score_fasttext

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    (folder / "lines.txt").write_text("__label__hq alpha beta the\n__label__cc gamma delta the\n" * 60)
    model = fasttext.train_supervised(str(folder / "lines.txt"), wordNgrams=2, dim=8, bucket=300, epoch=20, thread=1, verbose=0)
    model.save_model(str(folder / "model.bin"))
    return folder / "model.bin"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bring(scratch, **fields):
    made = import_fasttext(ImportFasttext(**fields), Inputs(), Resources(scratch=str(scratch)))
    assert made.files == ("model.bin",)
    return made.summary, (scratch / "model.bin").read_bytes()


@contextmanager
def server(answer):
    """An HTTP server on this machine; `answer(path, headers)` gives status, headers and body."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked.append((self.command, self.path))
            status, headers, body = answer(self.path, self.headers)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", asked
    finally:
        listening.shutdown()
        listening.server_close()


def test_from_a_path_a_memory_file_system_and_http(model_file, tmp_path):
    expected = model_file.read_bytes()
    with fsspec.open("memory://models/published.bin", "wb") as file:
        file.write(expected)
    with server(lambda path, headers: (200, {"ETag": '"1"'}, expected)) as (address, _):
        for url in (str(model_file), f"file://{model_file}", "memory://models/published.bin", f"{address}/published.bin"):
            summary, copied = bring(tmp_path, model=url)
            assert copied == expected and summary["sha256"] == digest(model_file) and summary["num_bytes"] == len(expected)
    assert summary["labels"] == ["__label__cc", "__label__hq"] and summary["loss"] == "softmax" and summary["word_n_grams"] == 2
    assert summary["num_words"] == len(fasttext.load_model(str(model_file)).get_words())


def test_identity_is_the_bytes_wherever_they_lie_and_whether_they_are_told_or_not(model_file, tmp_path):
    copy = tmp_path / "copy.bin"
    copy.write_bytes(model_file.read_bytes())
    nodes = [
        import_fasttext.on(model=str(model_file), name="a"),
        import_fasttext.on(model=f"file://{copy}", name="b"),
        import_fasttext.on(model="http://127.0.0.1:9/not-asked.bin", sha256=digest(copy), name="c"),
    ]
    found = resolve(Plan("same", nodes), Store(tmp_path / "store"), Resources())
    assert len({node.fingerprint for node in found.values()}) == 1
    copy.write_bytes(copy.read_bytes() + b"\0")
    other = resolve(Plan("same", [nodes[1]]), Store(tmp_path / "store"), Resources())
    assert other["b"].fingerprint != found["a"].fingerprint


def test_errors_say_what_to_do(model_file, tmp_path):
    with pytest.raises(ValueError, match="not " + "0" * 64 + "; correct `sha256`"):
        bring(tmp_path, model=str(model_file), sha256="0" * 64)
    with pytest.raises(ValueError, match="none.bin can not be read: FileNotFoundError.*local path as `model`, or put train_fasttext"):
        published_digest(str(tmp_path / "none.bin"))
    with pytest.raises(ConfigError, match="64 lower-case hex digits"):
        ImportFasttext(model="x", sha256="ABC")
    (tmp_path / "page.html").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="is no fastText model"):
        bring(tmp_path, model=str(tmp_path / "page.html"))
    (tmp_path / "lines.txt").write_text("alpha beta the gamma delta\n" * 30)
    fasttext.train_unsupervised(str(tmp_path / "lines.txt"), dim=4, bucket=50, epoch=1, minCount=1, thread=1, verbose=0).save_model(str(tmp_path / "u.bin"))
    with pytest.raises(ValueError, match="skipgram model, which has no labels"):
        bring(tmp_path, model=str(tmp_path / "u.bin"))
    with server(lambda path, headers: (404, {}, b"")) as (address, _), pytest.raises(ValueError, match="status 404"):
        published_digest(f"{address}/model.bin")


PROGRAM = """
import hashlib, json, sys
from stages.core.stage import Inputs, Resources
from stages.import_fasttext import ImportFasttext, import_fasttext, published_digest
print(published_digest(sys.argv[1]))
print(json.dumps(dict(import_fasttext(ImportFasttext(model=sys.argv[1]), Inputs(), Resources(scratch=sys.argv[2])).summary)))
"""


def from_hub(address, url, scratch, **environment):
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(scratch / "home"), **environment}
    return subprocess.run([sys.executable, "-c", PROGRAM, url, str(scratch)], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_from_the_hub_the_digest_is_asked_and_the_file_read_once(model_file, tmp_path):
    """The real huggingface_hub against a server that answers as the hub does: repository, tree with the file's sha256, and the file."""
    bytes_, commit, name = model_file.read_bytes(), "0123456789" * 4, "a_v2_bigram_200k_train.bin"
    tree = [{"type": "file", "path": name, "oid": "ab" * 20, "size": len(bytes_), "lfs": {"oid": digest(model_file), "size": len(bytes_), "pointerSize": 134}}]

    def answer(path, headers):
        path = path.partition("?")[0]
        if path.startswith("/api/models/someone/fasttext-a/tree/"):
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if path.startswith("/api/models/someone/fasttext-a"):
            return 200, {"Content-Type": "application/json"}, json.dumps({"id": "someone/fasttext-a", "_id": "1", "sha": commit, "siblings": []}).encode()
        if path.startswith("/someone/fasttext-a/resolve/") and path.endswith(name):
            return 200, {"ETag": f'"{digest(model_file)}"', "X-Repo-Commit": commit}, bytes_
        return 404, {}, b""

    with server(answer) as (address, asked):
        ran = from_hub(address, f"hf://someone/fasttext-a/{name}", tmp_path)
        assert ran.returncode == 0, ran.stderr
        asked_digest, summary = ran.stdout.split("\n")[:2]
        assert asked_digest == json.loads(summary)["sha256"] == digest(model_file)
        assert (tmp_path / "model.bin").read_bytes() == bytes_
        assert len([path for method, path in asked if method == "GET" and "/resolve/" in path]) == 1
        missing = from_hub(address, "hf://someone/fasttext-a/none.bin", tmp_path)
        assert "ValueError: import_fasttext: hf://someone/fasttext-a/none.bin can not be read: FileNotFoundError" in missing.stderr


def test_without_a_network_the_hub_is_an_error_with_a_remedy(tmp_path):
    ran = from_hub("http://127.0.0.1:9", "hf://someone/fasttext-a/model.bin", tmp_path, HF_HUB_OFFLINE="0")
    last = ran.stderr.strip().split("\n")[-1]
    assert last.startswith("ValueError: import_fasttext: hf://someone/fasttext-a/model.bin can not be read: ") and "put train_fasttext in the place" in last


def test_an_imported_model_scores_in_a_plan(model_file, tmp_path):
    (tmp_path / "texts").mkdir()
    rows = [{"id": f"d{i}", "text": text} for i, text in enumerate(["alpha beta", "gamma the", "the"])]
    (tmp_path / "texts" / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = read_texts.on(list_warcs.on(root=str(tmp_path / "texts"), source="made", pattern="jsonl$"))
    plan = Plan("test_import", [score_fasttext.on(texts, import_fasttext.on(model=str(model_file)))])
    store = Store(tmp_path / "store")
    run_plan(plan, store, Resources(workers=0))
    scores = open_node(store, plan, "score_fasttext").table("made-x.jsonl")["score_fasttext"].to_numpy()
    model = fasttext.load_model(str(model_file))
    expected = [dict(zip(*model.predict(row["text"], k=-1), strict=True))["__label__hq"] for row in rows]
    assert np.abs(scores - np.minimum(expected, 1)).max() < 1e-5
