"""Black-box probe: finds out whether a URL answers as it should, in time, with a certificate to be trusted."""
