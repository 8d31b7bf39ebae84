"""How the Studio looks: quiet, one accent, the system's own letters, light or dark as the system is."""

from __future__ import annotations

import gradio as gr

from mosaic.studio.pieces import asset

LETTERS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
FIXED = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
STYLE = asset("studio.css")
HEAD = (
    '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
    f"<script>{asset('keys.js')}</script>"
)


def theme() -> gr.themes.Base:
    """Gradio's plain theme with our accent; no letters are fetched from anywhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        font=LETTERS,
        font_mono=FIXED,
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="#fbfbfa",
        body_background_fill_dark="#14161b",
        body_text_color="#1f2430",
        body_text_color_dark="#e8eaf0",
        body_text_color_subdued="#5d6472",
        body_text_color_subdued_dark="#a2a9b8",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1b1e25",
        background_fill_secondary="#f5f5f3",
        background_fill_secondary_dark="#21252e",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_padding="0px",
        block_shadow="none",
        block_shadow_dark="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_border_width_dark="0px",
        block_label_text_weight="500",
        block_title_text_weight="500",
        block_title_text_color="#3a4150",
        block_title_text_color_dark="#c6ccd8",
        border_color_primary="#dfe1e5",
        border_color_primary_dark="#333945",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1b1e25",
        input_border_width="1px",
        input_border_color="#d3d6dc",
        input_border_color_dark="#3a4150",
        input_placeholder_color="#6b7280",
        input_placeholder_color_dark="#8f97a6",
        input_shadow="none",
        input_shadow_focus="0 0 0 3px rgb(79 70 229 / 0.18)",
        input_border_color_focus="#4f46e5",
        input_border_color_focus_dark="#8b87f5",
        button_primary_background_fill="#4f46e5",
        button_primary_background_fill_hover="#4338ca",
        button_primary_background_fill_dark="#5b54ea",
        button_primary_background_fill_hover_dark="#6d67f0",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#f1f1ee",
        button_secondary_background_fill_dark="#232833",
        button_secondary_background_fill_hover_dark="#2c323f",
        button_secondary_border_color="#d3d6dc",
        button_secondary_border_color_dark="#3a4150",
        button_border_width="1px",
        button_primary_shadow="none",
        button_secondary_shadow="none",
        checkbox_background_color_selected="#4f46e5",
        checkbox_border_color_selected="#4f46e5",
        slider_color="#4f46e5",
    )
