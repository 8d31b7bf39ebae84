"""`mosaic studio`: the page, its queue and its server."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from mosaic.generate import quiet_libraries, say
from mosaic.studio.options import StudioOptions

if TYPE_CHECKING:
    import gradio as gr

    from mosaic.studio.making import Maker

MOST_IN_QUEUE = 64  # events of all pages
THREADS = 40
DAY = 86400  # seconds


def serve(options: StudioOptions) -> None:
    """Open the Studio and stay until it is interrupted."""
    prepare(options)
    from mosaic.pipeline.loading import find

    check_port(options)
    find(options.model, options.lora, offload=options.offload, quantize=options.quantize)
    page, maker = build(options)
    _, address, _ = open_page(page, options, prevent_thread_lock=True)
    say(f"the Studio is at {address} and keeps its files in {options.folder}; Ctrl-C ends it")
    if options.is_open:
        say("warning: others can reach it, see its history and use this computer: there is no password")
    threading.Thread(target=warmed, args=(maker,), daemon=True).start()
    threading.Thread(target=tidied, args=(maker,), daemon=True).start()
    page.block_thread()


def prepare(options: StudioOptions) -> None:
    """What must be set before gradio is imported: no analytics, no hub, uploads in the Studio's folder."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(options.uploads)
    os.environ.setdefault("GRADIO_SSR_MODE", "False")
    local = options.model == "embedded" or os.path.isdir(os.path.expanduser(options.model))  # noqa: PTH112, PTH111
    if local and (options.lora is None or os.path.isfile(os.path.expanduser(options.lora))):  # noqa: PTH113, PTH111
        os.environ["HF_HUB_OFFLINE"] = "1"
    quiet_libraries()
    options.uploads.mkdir(parents=True, exist_ok=True)


def build(options: StudioOptions) -> tuple[gr.Blocks, Maker]:
    """The page with its tabs, not yet served."""
    import gradio as gr

    from mosaic.studio import http, maker
    from mosaic.studio.facts import Facts
    from mosaic.studio.library import Library
    from mosaic.studio.making import Maker
    from mosaic.studio.making_tab import Making
    from mosaic.studio.references_tab import References
    from mosaic.studio.shelf import Shelf

    library = Library(options.library, Shelf(options.pictures))
    makes = Maker(options, library)
    facts = Facts.of(options)
    making = Making(makes, facts)
    with gr.Blocks(
        title="MOSAIC Studio", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as page:
        gr.HTML(f'<header><h1>MOSAIC Studio</h1><span class="model">{facts.name}</span></header>')
        http.endpoints(making)  # before the tabs, whose events would take the names
        with gr.Tabs():
            with gr.Tab("Make", id="make"):
                parts = maker.tab(making, library)
            other_tabs(options)
        page.load(
            lambda: [References(makes.shelf, library).menu(), making.pictures()],
            None,
            [parts.references.library, parts.result.history],
            api_visibility="private",
            show_progress="hidden",
        )
    page.queue(max_size=MOST_IN_QUEUE, default_concurrency_limit=8, api_open=True)
    return page, makes


def other_tabs(options: StudioOptions) -> None:
    """Data and reports, each in a file of its own."""
    import gradio as gr

    from mosaic.studio.data import tab as dataset_tab
    from mosaic.studio.reports import tab as reports_tab

    with gr.Tab("Data", id="data"):
        dataset_tab.tab(options)
    with gr.Tab("Reports", id="reports"):
        reports_tab.tab(options)


def open_page(page: gr.Blocks, options: StudioOptions, **more: Any) -> tuple[Any, str, str]:
    """Serve the page; returns (app, address, public address, which is none)."""
    from mosaic.studio.guarding import guard
    from mosaic.studio.limits import LARGEST_FILE
    from mosaic.studio.look import HEAD, STYLE, theme

    return page.launch(
        server_name=options.host,
        server_port=options.port or free_port(options.host),
        share=False,
        quiet=True,
        show_error=False,
        inbrowser=False,
        ssr_mode=False,
        pwa=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        footer_links=[],
        allowed_paths=[str(options.history)],
        max_file_size=2 * LARGEST_FILE,  # what is a little too large is told in our own words
        max_threads=THREADS,
        strict_cors=True,
        theme=theme(),
        css=STYLE,
        head=HEAD,
        app_kwargs={"middleware": guard()},
        **more,
    )


def check_port(options: StudioOptions) -> None:
    """ValueError if somebody else listens there."""
    import socket

    if not options.port:
        return
    with socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except socket.gaierror as error:
            raise ValueError(f"--host {options.host} is no address of this machine.") from error
        except OSError as error:
            raise ValueError(
                f"Port {options.port} is taken: give another --port, or 0 for any free one."
            ) from error


def free_port(host: str) -> int:
    """One that nobody listens on."""
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def warmed(maker: Maker) -> None:
    """Load the model while the first references are dropped; what is wrong is told on the terminal now."""
    from mosaic.errors import explain

    try:
        maker.warm()
    except Exception as error:
        say(f"the model could not be loaded: {explain(error) or error!r}")


def tidied(maker: Maker) -> None:
    """References nobody shows any more are removed, now and every day."""
    while True:
        maker.tidy()
        time.sleep(DAY)
