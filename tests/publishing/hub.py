"""A hub on 127.0.0.1 that speaks what huggingface_hub asks when it publishes, but for its Xet storage.

with running_hub() as hub:
    …                     # HF_ENDPOINT=hub.url, HF_TOKEN=hub.token
    hub.repositories["models/me/toys"].files["README.md"]
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_a_token_of_nobody"


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    opened_after: int | None = None  # how many files were there when it was opened


@dataclass
class Hub:
    url: str = ""
    token: str = TOKEN
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)  # large files by their SHA-256
    asked: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{method} {path}")
        if not path.startswith("/lfs/") and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._answer(401, {"error": "Invalid username or password."})
        status, told = self._told(method, path, body)
        return self._answer(status, told)

    def _answer(self, status: int, told: Any) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if "error" in told:
            self.send_header("X-Error-Message", told["error"])
        self.end_headers()
        self.wfile.write(content)

    def _told(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/lfs/"):
            self.hub.stored[path.removeprefix("/lfs/")] = body
            return 200, {}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"objects": [self._place(one) for one in json.loads(body)["objects"]]}
        _, api, kind, owner, name, *rest = [*path.split("/"), "", ""]
        repository = self.hub.repositories.get(f"{kind}/{owner}/{name}")
        if api != "api" or repository is None:
            return 404, {"error": "Repository not found"}
        return self._of_repository(repository, f"{owner}/{name}", rest[0], body)

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        kind = {"dataset": "datasets"}.get(asked.get("type", "model"), "models")
        key = f"{kind}/{asked['organization']}/{asked['name']}"
        url = f"{self.hub.url}/{key.removeprefix('models/')}"
        if key in self.hub.repositories:
            return 409, {"error": "You already created this repo", "url": url}
        self.hub.repositories[key] = Repository(private=asked.get("visibility") == "private")
        return 200, {"url": url}

    def _of_repository(self, repository: Repository, name: str, what: str, body: bytes) -> tuple[int, Any]:
        if what == "preupload":
            files = [one["path"] for one in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith((".safetensors", ".tar")) else "regular" for path in files}
            told = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            return 200, {"files": told}
        if what == "commit":
            self._commit(repository, [json.loads(line) for line in body.splitlines()])
            url = f"{self.hub.url}/{name}/commit/1"
            return 200, {"success": True, "commitOid": "1" * 40, "commitUrl": url, "hookOutput": ""}
        if what == "settings":
            repository.private = json.loads(body)["visibility"] == "private"
            repository.opened_after = len(repository.files)
            return 200, {"private": repository.private}
        siblings = [{"rfilename": path} for path in repository.files]
        return 200, {"id": name, "private": repository.private, "sha": "1" * 40, "siblings": siblings}

    def _commit(self, repository: Repository, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.stored[value["oid"]]

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        upload = {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}
        return {"oid": one["oid"], "size": one["size"], "actions": {"upload": upload}}


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    handler = type("Bound", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
