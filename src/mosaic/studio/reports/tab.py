"""The Studio's tab of reports: binds `reports` and `reports_views` to the page, and nothing else."""

from __future__ import annotations

from html import escape
from textwrap import shorten
from typing import Any

import gradio as gr

from mosaic.errors import explain
from mosaic.studio.pieces import asset
from mosaic.studio.reports import comparing as reports
from mosaic.studio.reports import views
from mosaic.studio.reports.comparing import Opened
from mosaic.studio.roots import Folders, Roots, roots_of
from mosaic.studio.telling import QUIET, told

PLAIN: dict[str, Any] = {"apply_default_css": False, "elem_classes": "ms"}
CASES, ROWS = 6, 4  # worst and best shown; records of a grid to begin with


def tab(options: Folders) -> None:
    """Tab 3, inside `with gr.Tab(...)`."""
    roots = roots_of(options)
    gr.HTML(f"<style>{asset('data.css')}</style>")
    opened = gr.State([])
    with gr.Row(elem_classes="ms-bar"):
        paths = gr.Dropdown(
            roots.named(reports.offered(roots)),
            value=[],
            multiselect=True,
            label="Reports",
            info="Output folders of mosaic evaluate; several of one benchmark are compared",
            allow_custom_value=True,
            scale=6,
            elem_id="report-paths",
        )
        go = gr.Button("Open", variant="primary", min_width=110, elem_id="report-open", elem_classes="ms-go")
    status = gr.HTML(_hint(roots), elem_id="report-status", **PLAIN)
    with gr.Tabs(visible=False) as parts:
        with gr.Tab("Tables", id="tables"):
            table = gr.HTML("", elem_id="report-tables", **PLAIN)
        with gr.Tab("Differences", id="differences"):
            differences = Differences(opened, roots)
        with gr.Tab("Cases", id="cases"):
            cases = Cases(opened, roots)
        with gr.Tab("Grid", id="grid"):
            grid = Grid(opened, roots)
    below = (differences, cases, grid)

    paths.focus(lambda: gr.update(choices=roots.named(reports.offered(roots))), None, paths, **QUIET)

    def open_(typed: list[str]) -> Any:
        try:
            found = reports.open_reports(typed or [], roots)
        except (ValueError, OSError) as error:
            if (sentence := explain(error)) is None:
                raise
            problem = f'<p class="ms-problem" role="alert">{escape(sentence)}</p>'
            return [], gr.update(visible=False), problem, *[gr.skip()] * len(outputs[3:])
        filled = [update for one in below for update in one.fresh(found)]
        return typed, gr.update(visible=True), _about(found), views.tables_of(found), *filled

    outputs = [opened, parts, status, table, *(part for one in below for part in one.outputs)]
    gr.on(
        go.click,
        open_,
        paths,
        outputs,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[status],
    )


def _hint(roots: Roots) -> str:
    text = (
        "Choose one report, or several of one benchmark, and open them."
        if roots.data
        else "No folder may be opened yet. Start the Studio with <code>mosaic studio --data DIR</code>."
    )
    return f'<p class="ms-faint">{text}</p>'


def _about(found: Opened) -> str:
    names = ", ".join(map(escape, found.names))
    scores = f"{len(found.rows):,}"
    return (
        f'<div class="ms-status" role="status"><b>{escape(found.benchmark.name)}</b><span>{names}</span>'
        f"<span>methods <b>{len(found.summary.methods)}</b></span><span>scores <b>{scores}</b></span></div>"
    )


def _parts(found: Opened) -> list[str]:
    return [part for part in found.summary.parts if any(value.part == part for value in found.summary.values)]


def _methods(found: Opened) -> list[str]:
    """Controls last."""
    return sorted(found.summary.methods, key=lambda name: name in found.summary.controls)


class Differences:
    """Two methods against each other in every column."""

    def __init__(self, opened: gr.State, roots: Roots) -> None:
        self.roots = roots
        with gr.Row():
            self.part = gr.Dropdown([], label="Part", min_width=130)
            self.first = gr.Dropdown([], label="First", min_width=160)
            self.second = gr.Dropdown([], label="Second", min_width=160)
        self.shown = gr.HTML("", elem_id="report-differences", **PLAIN)
        controls = [self.part, self.first, self.second]
        gr.on([one.input for one in controls], told(self.show), [opened, *controls], self.shown, **QUIET)

    @property
    def outputs(self) -> list[Any]:
        return [self.part, self.first, self.second, self.shown]

    def fresh(self, found: Opened) -> list[Any]:
        """Of reports just opened: the first two methods of the first part."""
        parts, methods = _parts(found), _methods(found)
        part, first, second = (parts or [""])[0], methods[0], methods[min(1, len(methods) - 1)]
        return [
            gr.update(choices=parts, value=part),
            gr.update(choices=methods, value=first),
            gr.update(choices=methods, value=second),
            views.differences(found, reports.compared(found, part, first, second)),
        ]

    def show(self, typed: list[str], part: str, first: str, second: str) -> str:
        """The table of differences."""
        found = reports.open_reports(typed, self.roots)
        return views.differences(found, reports.compared(found, part, first, second))


class Cases:
    """The worst and the best pictures of a method by a column."""

    def __init__(self, opened: gr.State, roots: Roots) -> None:
        self.roots = roots
        with gr.Row():
            self.part = gr.Dropdown([], label="Part", min_width=130)
            self.column = gr.Dropdown([], label="Column", min_width=160)
            self.method = gr.Dropdown([], label="Method", min_width=160)
        self.shown = gr.HTML("", elem_id="report-cases", **PLAIN)
        controls = [self.part, self.column, self.method]
        self.part.input(told(self.columns), [opened, self.part], self.column, **QUIET).then(
            told(self.show), [opened, *controls], self.shown, **QUIET
        )
        gr.on(
            [self.column.input, self.method.input],
            told(self.show),
            [opened, *controls],
            self.shown,
            api_visibility="private",
            show_progress="minimal",
        )

    @property
    def outputs(self) -> list[Any]:
        return [self.part, self.column, self.method, self.shown]

    def fresh(self, found: Opened) -> list[Any]:
        """Of reports just opened."""
        parts, methods = _parts(found), _methods(found)
        part = (parts or [""])[0]
        columns = found.titles(part)
        shown = (
            self._cases(found, part, columns[0], methods[0]) if columns else views.cases([], [], self.roots)
        )
        return [
            gr.update(choices=parts, value=part),
            gr.update(choices=columns, value=columns[0] if columns else None),
            gr.update(choices=methods, value=methods[0]),
            shown,
        ]

    def columns(self, typed: list[str], part: str) -> Any:
        """The columns of another part."""
        titles = reports.open_reports(typed, self.roots).titles(part)
        return gr.update(choices=titles, value=titles[0] if titles else None)

    def show(self, typed: list[str], part: str, column: str | None, method: str) -> str:
        """The cards."""
        found = reports.open_reports(typed, self.roots)
        return self._cases(found, part, column, method) if column else views.cases([], [], self.roots)

    def _cases(self, found: Opened, part: str, column: str, method: str) -> str:
        return views.cases(*reports.cases_of(found, part, column, method, CASES), self.roots)


class Grid:
    """Chosen records over chosen methods."""

    def __init__(self, opened: gr.State, roots: Roots) -> None:
        self.roots = roots
        with gr.Row():
            self.part = gr.Dropdown([], label="Part", min_width=130, scale=1, elem_id="report-grid-part")
            self.column = gr.Dropdown([], label="Score below", min_width=150, scale=1)
            self.methods = gr.Dropdown([], label="Methods", multiselect=True, min_width=220, scale=3)
        self.records = gr.Dropdown([], label="Records", multiselect=True, max_choices=24)
        self.shown = gr.HTML("", elem_id="report-grid", **PLAIN)
        controls = [self.part, self.records, self.methods, self.column]
        self.part.input(told(self.choices), [opened, self.part], [self.records, self.column], **QUIET).then(
            told(self.show), [opened, *controls], self.shown, **QUIET
        )
        events = [self.records.input, self.methods.input, self.column.input]
        gr.on(events, told(self.show), [opened, *controls], self.shown, trigger_mode="always_last", **QUIET)

    @property
    def outputs(self) -> list[Any]:
        return [self.part, self.column, self.methods, self.records, self.shown]

    def fresh(self, found: Opened) -> list[Any]:
        """Of reports just opened."""
        parts, methods = _parts(found), _methods(found)
        part = (parts or [""])[0]
        records, column = self._choices(found, part)
        shown = self._grid(found, part, records["value"], methods, column["value"])
        update = gr.update(choices=methods, value=methods)
        return [
            gr.update(choices=parts, value=part),
            gr.update(**column),
            update,
            gr.update(**records),
            shown,
        ]

    def choices(self, typed: list[str], part: str) -> Any:
        """Records and columns of another part."""
        records, column = self._choices(reports.open_reports(typed, self.roots), part)
        return gr.update(**records), gr.update(**column)

    def _choices(self, found: Opened, part: str) -> tuple[dict[str, Any], dict[str, Any]]:
        known, titles = reports.records_of(found, part), found.titles(part)
        listed = [
            (shorten(f"{id}: {record.prompt}", 60, placeholder=" …"), id) for id, record in known.items()
        ]
        records = {"choices": listed, "value": list(known)[:ROWS]}
        return records, {"choices": ["", *titles], "value": titles[0] if titles else ""}

    def show(self, typed: list[str], part: str, records: list[str], methods: list[str], column: str) -> str:
        """The grid."""
        found = reports.open_reports(typed, self.roots)
        return self._grid(found, part, records, methods, column)

    def _grid(self, found: Opened, part: str, records: list[str], methods: list[str], column: str) -> str:
        known = reports.records_of(found, part)
        chosen = [known[id] for id in records or () if id in known]
        return views.grid(found, chosen, methods or [], column or "", self.roots)
