/* SPDX-License-Identifier: MIT
 * svg.c - see svg.h.
 */
#include "svg.h"

#include "../diag.h"

#include <string.h>

static const char style[] =
    "text { font: 12px 'DejaVu Sans', 'Segoe UI', Helvetica, Arial, sans-serif; fill: #333; }\n"
    ".mono { font: 12px 'DejaVu Sans Mono', Menlo, Consolas, monospace; white-space: pre; }\n"
    ".title { font-size: 22px; font-weight: bold; fill: #111; }\n"
    ".head { font-size: 14px; font-weight: bold; fill: #111; }\n"
    ".about { font-size: 13px; fill: #555; }\n"
    ".label { font-size: 11px; fill: #666; }\n"
    ".middle { text-anchor: middle; }\n"
    ".end { text-anchor: end; }\n"
    "line { stroke: #333; }\n"
    "line.grid { stroke: #ddd; }\n"
    "line.faint { stroke: #f0f0f0; }\n"
    "line.axis { stroke: #999; }\n"
    "line.cell { stroke: #fff; stroke-width: 0.6; }\n"
    "line.roof { stroke: #111; stroke-width: 2; stroke-linecap: round; }\n"
    "line.gap { stroke: #c0392b; stroke-dasharray: 2 3; }\n";

static void attribute(struct buf *out, const char *name, double value) {
  buf_printf(out, " %s=\"", name);
  buf_number(out, value, 6);
  buf_puts(out, "\"");
}

void svg_begin(struct buf *out, double width, double height, const char *title) {
  buf_puts(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\"");
  attribute(out, "width", width);
  attribute(out, "height", height);
  buf_puts(out, " viewBox=\"0 0 ");
  buf_number(out, width, 6);
  buf_puts(out, " ");
  buf_number(out, height, 6);
  buf_puts(out, "\">\n<title>");
  svg_escape(out, title);
  buf_printf(out, "</title>\n<style>\n%s</style>\n", style);
  svg_box(out, 0, 0, width, height, "fill=\"#fff\"");
}

void svg_end(struct buf *out) {
  buf_puts(out, "</svg>\n");
}

/* ---- text ---- */

/* U+FFFE and U+FFFF are characters of UTF-8 and none of XML. */
static bool not_in_xml(const char *s) {
  return memcmp(s, "\xef\xbf\xbe", 3) == 0 || memcmp(s, "\xef\xbf\xbf", 3) == 0;
}

void svg_escape(struct buf *out, const char *text) {
  struct buf clean = {0};
  diag_put_clean(&clean, text, strlen(text));
  if (clean.failed) out->failed = true;
  for (const char *s = buf_text(&clean); *s; s++) {
    switch (*s) {
    case '<': buf_puts(out, "&lt;"); break;
    case '>': buf_puts(out, "&gt;"); break;
    case '&': buf_puts(out, "&amp;"); break;
    case '"': buf_puts(out, "&quot;"); break;
    case '\'': buf_puts(out, "&#39;"); break;
    case '\xef':
      buf_puts(out, not_in_xml(s) ? "?" : "\xef");
      if (not_in_xml(s)) s += 2;
      break;
    default: buf_write(out, s, 1);
    }
  }
  buf_finish(&clean);
}

static void put_text(struct buf *out, const char *classes, const char *text) {
  buf_printf(out, " class=\"%s\" xml:space=\"preserve\">", classes);
  svg_escape(out, text);
  buf_puts(out, "</text>\n");
}

void svg_text(struct buf *out, double x, double y, const char *classes, const char *text) {
  buf_puts(out, "<text");
  attribute(out, "x", x);
  attribute(out, "y", y);
  put_text(out, classes, text);
}

void svg_text_turned(struct buf *out, double x, double y, double degrees, const char *classes,
                     const char *text) {
  buf_puts(out, "<text transform=\"translate(");
  buf_number(out, x, 6);
  buf_puts(out, " ");
  buf_number(out, y, 6);
  buf_puts(out, ") rotate(");
  buf_number(out, degrees, 6);
  buf_puts(out, ")\"");
  put_text(out, classes, text);
}

static bool starts_character(char c) {
  return ((unsigned char)c & 0xc0) != 0x80;
}

size_t svg_line_bytes(const char *text, int columns) {
  size_t n = 0, blank = 0;
  for (int column = 0; text[n] && text[n] != '\n'; n++) {
    if (text[n] == ' ' && column > 0) blank = n;
    if (starts_character(text[n]) && column++ == columns) return blank ? blank : n;
  }
  return n;
}

/* One line of the text, as one or more here; all of them have its indent. */
static double put_line(struct buf *out, double x, double y, int columns, const char *classes,
                       const char *line) {
  const int indent = (int)strspn(line, " ") < columns / 2 ? (int)strspn(line, " ") : 0;
  line += indent;
  do {
    struct buf part = {0};
    const size_t n = svg_line_bytes(line, columns - indent);
    buf_printf(&part, "%*s", indent, "");
    buf_write(&part, line, n);
    if (part.failed) out->failed = true;
    svg_text(out, x, y, classes, buf_text(&part));
    buf_finish(&part);
    y += SVG_LINE_HEIGHT;
    line += n;
    line += strspn(line, " ");
  } while (*line);
  return y;
}

double svg_paragraph(struct buf *out, double x, double y, int columns, const char *classes,
                     const char *text) {
  while (*text) {
    const size_t n = strcspn(text, "\n");
    struct buf line = {0};
    buf_write(&line, text, n);
    if (line.failed) out->failed = true;
    y = put_line(out, x, y, columns, classes, buf_text(&line));
    buf_finish(&line);
    text += n + (text[n] == '\n');
  }
  return y;
}

/* ---- shapes ---- */

void svg_line(struct buf *out, double x1, double y1, double x2, double y2, const char *classes) {
  buf_puts(out, "<line");
  attribute(out, "x1", x1);
  attribute(out, "y1", y1);
  attribute(out, "x2", x2);
  attribute(out, "y2", y2);
  buf_printf(out, " class=\"%s\"/>\n", classes);
}

void svg_box(struct buf *out, double x, double y, double w, double h, const char *attributes) {
  buf_puts(out, "<rect");
  attribute(out, "x", x);
  attribute(out, "y", y);
  attribute(out, "width", w);
  attribute(out, "height", h);
  buf_printf(out, " %s/>\n", attributes);
}

void svg_circle(struct buf *out, double x, double y, double r, const char *attributes) {
  buf_puts(out, "<circle");
  attribute(out, "cx", x);
  attribute(out, "cy", y);
  attribute(out, "r", r);
  buf_printf(out, " %s/>\n", attributes);
}
