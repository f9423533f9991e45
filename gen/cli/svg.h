/* SPDX-License-Identifier: MIT
 * svg.h - the pieces of an SVG file: a page, text, lines, boxes. Well-formed whatever the text is.
 *
 *   svg_begin(&out, 300, 100, "a title");
 *   svg_text(&out, 10, 20, "mono", "S <- exp(g) S");
 *   svg_end(&out);
 *
 * Lengths are in pixels. Classes, several with a blank between: title, about, head, label, mono of
 * text; middle, end where it stands; frame, grid, faint, axis of lines.
 */
#ifndef MKC_CLI_SVG_H
#define MKC_CLI_SVG_H

#include "../../runtime/base/buf.h"

/* A white page with its style sheet; nothing outside the file is referred to. */
void svg_begin(struct buf *out, double width, double height, const char *title);
void svg_end(struct buf *out);

void svg_text(struct buf *out, double x, double y, const char *classes, const char *text);
/* The same, turned about (x, y) by `degrees`, clockwise. */
void svg_text_turned(struct buf *out, double x, double y, double degrees, const char *classes,
                     const char *text);
void svg_line(struct buf *out, double x1, double y1, double x2, double y2, const char *classes);
void svg_box(struct buf *out, double x, double y, double w, double h, const char *attributes);
void svg_circle(struct buf *out, double x, double y, double r, const char *attributes);

/* Text as XML's character data, or the value of an attribute: < > & " ' become references, and
 * what is no character of XML or no UTF-8 a question mark. */
void svg_escape(struct buf *out, const char *text);

/* Bytes of the first line of `text` when lines have at most `columns` characters: it breaks at a
 * blank where it can. 0: there is no text left. */
size_t svg_line_bytes(const char *text, int columns);
/* Text broken into lines, from (x, y) on down; a new line of the text begins one here, and blanks
 * before it are kept, also before what it is broken into. Returns the y of the line after the
 * last. */
double svg_paragraph(struct buf *out, double x, double y, int columns, const char *classes,
                     const char *text);
enum { SVG_LINE_HEIGHT = 18 }; /* of a paragraph */

#endif
