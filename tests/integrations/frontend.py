"""ComfyUI's own browser frontend (the package comfyui-frontend-package) over a backend of the tests.

The backend says which nodes there are, takes a prompt, runs it by `comfy.execute` and tells the frontend over
its websocket what ComfyUI's would tell: executing, executed with its pictures, success.
"""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from .comfy import Graph, execute


@dataclass
class Backend:
    nodes: Mapping[str, type]
    names: Mapping[str, str]  # of a node → what it is shown as
    folder: Path  # of pictures to load and of pictures made
    url: str = ""
    prompts: list[Graph] = field(default_factory=list)
    sockets: list[Any] = field(default_factory=list)

    def info(self) -> dict[str, Any]:
        return {name: self._info(name, node) for name, node in self.nodes.items()}

    def _info(self, name: str, node: type) -> dict[str, Any]:
        inputs: dict[str, Any] = {
            kind: {one: list(value) for one, value in declared.items()}
            for kind, declared in node.INPUT_TYPES().items()
        }
        if name == "LoadImage":
            inputs["required"]["image"][1] = {"image_upload": True}
        ours = name in self.names
        return {
            "name": name,
            "display_name": self.names.get(name, name.replace("Image", " Image")),
            "description": getattr(node, "DESCRIPTION", ""),
            "category": node.CATEGORY,
            "python_module": "custom_nodes.mosaic" if ours else "nodes",
            "input": inputs,
            "input_order": {kind: list(declared) for kind, declared in inputs.items()},
            "output": list(node.RETURN_TYPES),
            "output_name": list(getattr(node, "RETURN_NAMES", node.RETURN_TYPES)),
            "output_is_list": [False] * len(node.RETURN_TYPES),
            "output_node": getattr(node, "OUTPUT_NODE", False),
        }

    async def tell(self, kind: str, **data: Any) -> None:
        for socket in self.sockets:
            await socket.send_text(json.dumps({"type": kind, "data": {"prompt_id": "1"} | data}))

    async def run(self, graph: Graph) -> None:
        self.prompts.append(graph)
        await self.tell("execution_start")
        for id in graph:
            await self.tell("executing", node=id, display_node=id)
        outputs = await asyncio.to_thread(execute, graph, self.nodes)
        for id, item in graph.items():
            if getattr(self.nodes[item["class_type"]], "OUTPUT_NODE", False):
                source, slot = item["inputs"]["images"]
                images = self._written(id, outputs[source][slot])
                await self.tell("executed", node=id, display_node=id, output={"images": images})
        await self.tell("execution_success")
        await self.tell("executing", node=None)

    def _written(self, id: str, images: Any) -> list[dict[str, str]]:
        written = []
        for i, image in enumerate(images):
            name = f"made-{id}-{i}.png"
            Image.fromarray((image.numpy() * 255).round().astype("uint8")).save(self.folder / name)
            written.append({"filename": name, "subfolder": "", "type": "output"})
        return written


def application(backend: Backend, static: Path) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Mount, Route, WebSocketRoute
    from starlette.staticfiles import StaticFiles

    told: dict[str, Any] = {
        "users": {"storage": "server", "migrated": True},
        "settings": {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False},
        "queue": {"queue_running": [], "queue_pending": []},
        "system_stats": {"system": {"os": "posix", "comfyui_version": "0.3.0", "argv": []}, "devices": []},
        **{path: [] for path in "extensions embeddings userdata v2/userdata experiment/models".split()},
    }
    running: set[Any] = set()

    async def api(request: Any) -> Any:
        path = request.path_params["path"]
        if path == "object_info":
            return JSONResponse(backend.info())
        if path == "prompt" and request.method == "POST":
            task = asyncio.create_task(backend.run((await request.json())["prompt"]))
            running.add(task)
            task.add_done_callback(running.discard)
            return JSONResponse({"prompt_id": "1", "number": 1, "node_errors": {}})
        if path == "view":
            file = backend.folder / request.query_params["filename"]
            return FileResponse(file) if file.is_file() else Response(status_code=404)
        return JSONResponse(told.get(path, {}))

    async def socket(one: Any) -> None:
        await one.accept()
        backend.sockets.append(one)
        status = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "tests"}
        await one.send_text(json.dumps({"type": "status", "data": status}))
        while (await one.receive())["type"] != "websocket.disconnect":
            pass
        backend.sockets.remove(one)

    methods = ["GET", "POST", "PUT", "DELETE"]
    routes = [WebSocketRoute("/ws", socket), Route("/api/{path:path}", api, methods=methods)]
    return Starlette(routes=[*routes, Mount("/", StaticFiles(directory=static, html=True))])


@contextmanager
def serving(backend: Backend, static: Path) -> Iterator[Backend]:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(application(backend, static), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
        assert thread.is_alive()
    backend.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield backend
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
