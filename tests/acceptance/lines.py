"""All lines, issue by issue."""

from tests.acceptance import lines_2, lines_3, lines_4, lines_5, lines_6, lines_7
from tests.acceptance.line import Line

LINES: tuple[Line, ...] = (*lines_2.LINES, *lines_3.LINES, *lines_4.LINES, *lines_5.LINES, *lines_6.LINES, *lines_7.LINES)
