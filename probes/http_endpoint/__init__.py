"""Black-box probe: checks whether a URL answers as expected, in time, with a trusted certificate."""
