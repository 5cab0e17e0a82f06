"""Helpers for people who run tools themselves: the text that goes back to the model."""

from ._tools import error_text as error_text
from ._tools import output_text as output_text
